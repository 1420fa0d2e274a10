from __future__ import annotations

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.errors import BackendUnavailable


@pytest.mark.parametrize(("y_size", "x_size"), [(1, 1), (2, 2), (9, 9), (7, 19), (19, 19)])
def test_uniform_answers_every_board_size(y_size: int, x_size: int) -> None:
    backend = open_backend("uniform", None, threads=1)
    out = backend.evaluate(np.zeros((3, 22, y_size, x_size), np.float32), np.zeros((3, 19), np.float32))
    assert out.policy.shape == (3, 1, y_size * x_size + 1)
    assert out.value.shape == (3, 3)
    assert out.score.shape == (3, 4)
    assert out.ownership.shape == (3, y_size * x_size)
    assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in out)
    assert np.ptp(out.policy) == 0
    assert (out.value[:, 0] == out.value[:, 1]).all()
    assert (out.value[:, 2] < out.value[:, 0]).all()
    backend.close()


def test_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(BackendUnavailable) as error:
        open_backend("tensorflow", None, threads=1)
    assert "tensorflow" in str(error.value)
    assert error.value.fix.startswith("Choose one of: onnxruntime, core, ")
    assert "uniform" not in error.value.fix and "check" not in error.value.fix
