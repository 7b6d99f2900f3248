from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from verger.engines import Graph
from verger.errors import VergerError
from verger.parity import TOLERANCE, ParityError, check, expected, probe, reference

from tests.support import one_line


class Known:
    """An engine that gives known features."""

    def __init__(self, features: NDArray[np.float32]) -> None:
        self.features = features

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert pixels.shape == (2, 224, 224, 3)
        return self.features


def test_the_probe_is_the_same_everywhere() -> None:
    pixels = probe()
    assert pixels.shape == (2, 224, 224, 3)
    assert pixels.dtype == np.uint8
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    assert digest == "d550d5bb0f5882c01f044dc22baef0f075f962012534d7071ae0a8f9990bdf82"


def test_the_reference_is_that_of_the_imagenet_weights() -> None:
    features = reference()
    assert features.shape == (2, 1280)
    assert features.dtype == np.float32
    assert features.min() == 0  # ReLU6
    assert 1 < features.max() <= 6
    assert np.abs(features[0] - features[1]).max() > 1  # the probe's images are told apart
    digest = hashlib.sha256(features.tobytes()).hexdigest()
    assert digest == "5d642b4c84264a355e064cd9993b40ea8c9f7eae4ec4b3984b3357ead6899d2f"


def test_the_same_features_have_no_difference() -> None:
    assert check(Known(reference()), reference(), "engine x") == 0


def test_a_difference_within_the_tolerance_is_told() -> None:
    features = reference()
    features[1, 700] += TOLERANCE / 2
    assert check(Known(features), reference(), "engine x") == pytest.approx(TOLERANCE / 2, rel=1e-2)


@pytest.mark.parametrize("off", [2 * TOLERANCE, -1.19, np.nan, np.inf])
def test_one_feature_off_is_refused(off: float) -> None:
    features = reference()
    features[1, 1279] += off
    with pytest.raises(ParityError) as error:
        check(Known(features), reference(), "engine x")
    one_line(error, "engine x", f"{abs(off):.3g}", str(TOLERANCE))


def test_a_failed_parity_is_no_mistake_of_the_user() -> None:
    assert issubclass(ParityError, VergerError)
    assert ParityError.exit_code == 1


def test_the_expected_features_are_read_from_the_graph() -> None:
    np.testing.assert_array_equal(
        expected(Graph("openvino", "m", {"expected.npy": reference().tobytes()})), reference()
    )
