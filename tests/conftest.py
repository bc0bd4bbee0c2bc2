"""Options of the test run."""

import hypothesis
import pytest

SEEDS_BY_DEFAULT = 3

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "shared-machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared-machine")


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
