// The FDB against a model: a std::map and a straightforward reading of fdb.h. For tests only.

#ifndef VXVDE_PLUGIN_FDB_MODEL_H_
#define VXVDE_PLUGIN_FDB_MODEL_H_

#include <cstdint>
#include <span>
#include <string>

namespace vxvde {

// Reads `operations`, three bytes each (what, which station, where or how long), and does each
// on an Fdb and on the model. "" when both agreed all along, else the first difference.
std::string RunAgainstModel(std::span<const uint8_t> operations);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FDB_MODEL_H_
