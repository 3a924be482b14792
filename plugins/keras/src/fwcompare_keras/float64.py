"""The floating-point types of a run, and float64 on the backends where Keras withholds it.

Keras 3 maps the result of every float64 operation to float32 unless the backend is TensorFlow
(``keras/src/backend/common/dtypes.py``, "to be aligned with JAX's default behavior"), although JAX
and PyTorch compute in float64 when asked. This is the one place that takes the mapping away, and
only while a float64 run lasts.
"""

from __future__ import annotations

import keras
import numpy as np

from fwcompare.errors import UnsupportedError


def set_precision(precision: str) -> None:
    """Make ``precision`` the dtype policy of every layer built from here on.

    A mixed policy keeps variables in float32.

    Raises:
        UnsupportedError: float64 was asked for and this Keras still computes in float32.
    """
    floatx = "float64" if precision == "float64" else "float32"
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(precision)
    if keras.config.backend() != "tensorflow":
        _map_float64_to(floatx)
    if precision == "float64":
        check_float64()


def _map_float64_to(floatx: str) -> None:
    try:
        from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE as mapping
    except ImportError:  # the self-test tells whether it is still needed
        return
    mapping["float64"] = floatx


def check_float64() -> None:
    """Compute a little in float64 and compare with NumPy.

    Raises:
        UnsupportedError: a result has another type, or only the digits of float32.
    """
    values = np.array([[0.1, 0.7], [1.3, -0.9]])
    tensor = keras.ops.convert_to_tensor(values)
    found = keras.ops.convert_to_numpy(keras.ops.tanh(keras.ops.matmul(tensor, tensor) * 0.3))
    expected = np.tanh(values @ values * 0.3)
    kinds = {keras.backend.result_type("float64", other) for other in ("float64", "int32", float)}
    exact = found.dtype == np.float64 and np.abs(found - expected).max() < 1e-15
    if kinds != {"float64"} or not exact:
        raise UnsupportedError(
            f"Keras {keras.__version__} computes float64 in float32 on its "
            f"{keras.config.backend()} backend, in a way that this plugin does not know.",
            "Use precision=float32, or keras_tensorflow, or Keras 3.15.",
        )
