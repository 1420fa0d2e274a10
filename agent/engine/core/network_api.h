// The C ABI of the core's network runtime, for agent/engine/backends/core.py. Buffers, shapes and pointers as in network.h; a call that
// cannot be served returns -1 or false. Putting a network together is one thread's work, running it any number's.
#pragma once

#include "core_api.h"
#include "network.h"

struct KaFinish {
  const float* bias;
  const float* next_scale;
  const float* next_bias;
  int32_t column;
  int32_t activation;
  int32_t accumulate;
  int32_t next;
  int32_t next_activation;
};

struct KaConvolution {
  const float* weights;
  int32_t in_channels;
  int32_t out_channels;
  int32_t y_size;
  int32_t x_size;
  int32_t y_dilation;
  int32_t x_dilation;
};

struct KaAttention {
  int32_t query;
  int32_t key;
  int32_t value;
  int32_t heads;
  int32_t key_heads;
  int32_t query_channels;
  int32_t value_channels;
  const float* frequencies;
};

KA_API katago_agent::Network* ka_network_new(int32_t generic_kernels);
KA_API void ka_network_free(katago_agent::Network* network);
KA_API const char* ka_network_kernels(int32_t generic_kernels);
KA_API int32_t ka_network_buffer(katago_agent::Network* network, int32_t channels, int32_t is_map);
KA_API bool ka_network_convolution(katago_agent::Network* network, int32_t from, int32_t to, const KaConvolution* convolution,
                                   const KaFinish* finish);
KA_API bool ka_network_product(katago_agent::Network* network, int32_t from, int32_t to, int32_t in_channels, int32_t out_channels,
                               const float* weights, const KaFinish* finish);
KA_API bool ka_network_affine(katago_agent::Network* network, int32_t from, int32_t to, const float* scale, const float* bias,
                              int32_t activation);
KA_API bool ka_network_rms(katago_agent::Network* network, int32_t from, int32_t to, float epsilon, int32_t spatial, const float* scale,
                           const float* bias, int32_t activation);
KA_API bool ka_network_times(katago_agent::Network* network, int32_t to, int32_t by);
KA_API bool ka_network_attention(katago_agent::Network* network, int32_t to, const KaAttention* attention);
KA_API bool ka_network_pool(katago_agent::Network* network, int32_t from, int32_t to, int32_t kind);
KA_API bool ka_network_outputs(katago_agent::Network* network, int32_t policy, int32_t pass, int32_t value, int32_t score, int32_t ownership);
KA_API bool ka_network_run(const katago_agent::Network* network, int32_t positions, int32_t y_size, int32_t x_size, const float* spatial,
                           const float* global, float* policy, float* value, float* score, float* ownership);
