"""Real nodes under virtual time."""

from collections.abc import Callable

import pytest

from mesh.core.params import Params
from mesh.sim.engine import Conditions
from mesh.sim.population import Population
from mesh.sim.scenario import Mesh, mesh_of
from mesh.sim.world import USUAL

MeshOf = Callable[..., Mesh]


@pytest.fixture
def meshes() -> MeshOf:
    """Makes meshes of real nodes: `meshes(5, seed=1)`."""

    def make(
        count: int,
        *,
        seed: int = 1,
        params: Params | None = None,
        conditions: Conditions = USUAL,
        by_ticket: bool = False,
    ) -> Mesh:
        population = Population(by_ticket=by_ticket)
        return mesh_of(count, population, seed=seed, params=params, conditions=conditions)

    return make
