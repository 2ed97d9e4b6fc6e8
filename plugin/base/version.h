// The version that all programs of this tree carry.

#ifndef VXVDE_PLUGIN_BASE_VERSION_H_
#define VXVDE_PLUGIN_BASE_VERSION_H_

namespace vxvde {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_VERSION_H_
