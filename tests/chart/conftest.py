"""The chart's cases, each rendered once; without Helm they are skipped."""

import pytest

from tests.support.chart import VARIANTS, Object, helm, render


@pytest.fixture(scope="session", name="helm")
def has_helm() -> str:
    """Helm's version, or a skip."""
    try:
        return helm("version", "--short").stdout
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(params=VARIANTS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """All objects of each case."""
    request.getfixturevalue("helm")
    return render(VARIANTS[request.param])


@pytest.fixture
def most(request: pytest.FixtureRequest) -> list[Object]:
    """All objects where most is switched on."""
    request.getfixturevalue("helm")
    return render(VARIANTS["most"])
