"""Which operators an ML program for iOS 16 and macOS 13 may use.

Source: the MIL operator reference of coremltools 9.0 (https://apple.github.io/coremltools/source/
coremltools.converters.mil.mil.ops.defs.html), its sections iOS 15 and iOS 16, of which these are the ones for neural
networks on dense tensors. What came with iOS 17 or later is not in it.
"""

from __future__ import annotations

_NAMES = """
conv conv_transpose linear matmul einsum
batch_norm instance_norm l2_norm layer_norm local_response_norm
avg_pool l2_pool max_pool
clamped_relu elu gelu leaky_relu linear_activation prelu relu relu6 scaled_tanh sigmoid sigmoid_hard silu softmax
softplus softplus_parametric softsign thresholded_relu
add equal floor_div greater greater_equal less less_equal logical_and logical_or logical_xor maximum minimum mod mul
not_equal pow real_div sub
abs acos asin atan atanh cast ceil clip cos cosh erf exp exp2 floor inverse log logical_not round rsqrt sign sin
sinh sqrt square tan tanh threshold
reduce_argmax reduce_argmin reduce_l1_norm reduce_l2_norm reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean
reduce_min reduce_prod reduce_sum reduce_sum_square
argsort band_part concat cumsum fill fill_like identity non_maximum_suppression non_zero one_hot pad range_1d shape
split stack tile topk
depth_to_space expand_dims pixel_shuffle pixel_unshuffle reshape reshape_like reverse reverse_sequence
slice_by_index slice_by_size sliding_windows space_to_batch batch_to_space space_to_depth squeeze transpose
gather gather_along_axis gather_nd scatter scatter_along_axis scatter_nd
cond select while_loop
constexpr_affine_dequantize constexpr_cast constexpr_lut_to_dense constexpr_sparse_to_dense
"""

OPERATORS = frozenset(_NAMES.split())

# Values written into the program, which no processor computes.
NOT_OPERATORS = frozenset({"const"})
