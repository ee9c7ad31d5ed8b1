import pytest
from toy_meshes import toy_hierarchy
from toys import toy_hand


@pytest.fixture(scope="module")
def hand_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("hand") / "hand.npz"
    toy_hand(path)
    return path


@pytest.fixture(scope="module")
def hand(hand_file):
    return toy_hand(hand_file)


@pytest.fixture(scope="module")
def hierarchy(hand):
    return toy_hierarchy(hand.faces)
