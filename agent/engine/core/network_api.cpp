#include "network_api.h"

#include <algorithm>
#include <new>
#include <utility>

using katago_agent::Activation;
using katago_agent::Network;

namespace katago_agent {

const Kernels& bestKernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2Kernels;
#endif
  return kGenericKernels;
}

}  // namespace katago_agent

namespace {

const katago_agent::Kernels& kernelsOf(int32_t generic) {
  return generic ? katago_agent::kGenericKernels : katago_agent::bestKernels();
}

bool has(const Network* network, int32_t buffer) { return buffer >= 0 && static_cast<size_t>(buffer) < network->buffers(); }

bool alike(const Network* network, int32_t from, int32_t to) {
  return has(network, from) && has(network, to) && network->channels(from) == network->channels(to);
}

bool isActivation(int32_t value) { return value >= 0 && value <= static_cast<int32_t>(Activation::kSilu); }

bool fits(const Network* network, int32_t from, int32_t to, int32_t in, int32_t out, const KaFinish* finish) {
  if (!has(network, from) || !has(network, to) || from == to) return false;
  if (network->channels(from) != in || network->channels(to) != out) return false;
  if (!isActivation(finish->activation) || !isActivation(finish->next_activation)) return false;
  for (const int32_t beside : {finish->column, finish->next}) {
    if (beside >= 0 && (!has(network, beside) || network->channels(beside) != out)) return false;
  }
  return finish->next < 0 || (finish->next_scale && finish->next_bias);
}

Network::Finish finishOf(const KaFinish* finish) {
  Network::Finish of;
  of.bias = finish->bias;
  of.column = finish->column;
  of.activation = static_cast<Activation>(finish->activation);
  of.accumulate = finish->accumulate != 0;
  of.next = finish->next;
  of.nextScale = finish->next_scale;
  of.nextBias = finish->next_bias;
  of.nextActivation = static_cast<Activation>(finish->next_activation);
  return of;
}

// No exception may cross the ABI; the only one there is, is that memory ran out.
template <typename Work>
bool served(Work work) {
  try {
    work();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

Network* ka_network_new(int32_t generic_kernels) { return new (std::nothrow) Network(kernelsOf(generic_kernels)); }

void ka_network_free(Network* network) { delete network; }

const char* ka_network_kernels(int32_t generic_kernels) { return kernelsOf(generic_kernels).name; }

int32_t ka_network_buffer(Network* network, int32_t channels, int32_t is_map) {
  int32_t buffer = -1;
  if (channels > 0) served([&] { buffer = network->addBuffer(channels, is_map != 0); });
  return buffer;
}

bool ka_network_convolution(Network* network, int32_t from, int32_t to, const KaConvolution* convolution, const KaFinish* finish) {
  if (!fits(network, from, to, convolution->in_channels, convolution->out_channels, finish)) return false;
  const Network::Convolution of{convolution->in_channels, convolution->out_channels, convolution->y_size,
                                convolution->x_size,      convolution->y_dilation,   convolution->x_dilation,
                                convolution->weights};
  return served([&] { network->addConvolution(from, to, of, finishOf(finish)); });
}

bool ka_network_product(Network* network, int32_t from, int32_t to, int32_t in_channels, int32_t out_channels, const float* weights,
                        const KaFinish* finish) {
  if (!fits(network, from, to, in_channels, out_channels, finish)) return false;
  return served([&] { network->addProduct(from, to, in_channels, out_channels, weights, finishOf(finish)); });
}

bool ka_network_affine(Network* network, int32_t from, int32_t to, const float* scale, const float* bias, int32_t activation) {
  if (!alike(network, from, to) || !isActivation(activation)) return false;
  return served([&] { network->addAffine(from, to, scale, bias, static_cast<Activation>(activation)); });
}

bool ka_network_rms(Network* network, int32_t from, int32_t to, float epsilon, int32_t spatial, const float* scale, const float* bias,
                    int32_t activation) {
  if (!alike(network, from, to) || !isActivation(activation)) return false;
  return served([&] { network->addRms(from, to, epsilon, spatial != 0, scale, bias, static_cast<Activation>(activation)); });
}

bool ka_network_times(Network* network, int32_t to, int32_t by) {
  return alike(network, by, to) && served([&] { network->addTimes(to, by); });
}

bool ka_network_attention(Network* network, int32_t to, const KaAttention* attention) {
  const KaAttention& of = *attention;
  if (of.heads < 1 || of.key_heads < 1 || of.heads % of.key_heads || of.query_channels < 1 || of.value_channels < 1) return false;
  if (of.frequencies && of.query_channels % 2) return false;
  const int64_t heads = of.heads, keyHeads = of.key_heads;
  for (const auto& [buffer, channels] : {std::pair{of.query, heads * of.query_channels}, std::pair{of.key, keyHeads * of.query_channels},
                                         std::pair{of.value, keyHeads * of.value_channels}, std::pair{to, heads * of.value_channels}}) {
    if (!has(network, buffer) || network->channels(buffer) != channels) return false;
  }
  return served([&] {
    network->addAttention(to, {of.query, of.key, of.value, heads, keyHeads, of.query_channels, of.value_channels, of.frequencies});
  });
}

bool ka_network_pool(Network* network, int32_t from, int32_t to, int32_t kind) {
  if (!has(network, from) || !has(network, to) || network->channels(to) != 3 * network->channels(from)) return false;
  return served([&] { network->addPool(from, to, static_cast<katago_agent::PoolKind>(kind)); });
}

bool ka_network_outputs(Network* network, int32_t policy, int32_t pass, int32_t value, int32_t score, int32_t ownership) {
  for (const int32_t buffer : {policy, pass, value, score, ownership}) {
    if (!has(network, buffer)) return false;
  }
  network->setOutputs(policy, pass, value, score, ownership);
  return network->channels(policy) == network->channels(pass) && network->channels(ownership) == 1;
}

bool ka_network_run(const Network* network, int32_t positions, int32_t y_size, int32_t x_size, const float* spatial, const float* global,
                    float* policy, float* value, float* score, float* ownership) {
  if (positions < 1 || y_size < 1 || x_size < 1 || std::max(y_size, x_size) > katago_agent::kLongestSide) return false;
  return served([&] { network->run({positions, y_size, x_size}, spatial, global, {policy, value, score, ownership}); });
}
