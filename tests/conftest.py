"""Options of the test run."""

import pytest

SEEDS_BY_DEFAULT = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds",
        type=int,
        default=SEEDS_BY_DEFAULT,
        help="how many seeds each sweep in tests/simulation tries",
    )


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of a sweep: 0, 1, ... as many as `--seeds` says."""
    count: int = request.config.getoption("--seeds")
    return range(count)
