// RetryOnce: immediately retries a step that failed, where giving up would drop frames or lose
// state (docs/decisions/0020).

#ifndef VXVDE_PLUGIN_BASE_RETRY_H_
#define VXVDE_PLUGIN_BASE_RETRY_H_

namespace vxvde {

// `step` returns a Status or StatusOr. The result is that of the last attempt.
template <typename Step>
auto RetryOnce(Step step) {
  auto result = step();
  if (!result.ok()) result = step();
  return result;
}

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_RETRY_H_
