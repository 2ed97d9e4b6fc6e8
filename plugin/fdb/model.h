// The FDB against a model: a std::map and a literal implementation of fdb.h. For tests only.

#ifndef VXVDE_PLUGIN_FDB_MODEL_H_
#define VXVDE_PLUGIN_FDB_MODEL_H_

#include <cstdint>
#include <span>
#include <string>

namespace vxvde {

// Reads `operations`, three bytes each (kind, station, location or count), and applies each to an
// Fdb and to the model. Returns "" if both agree, else the first difference.
std::string RunAgainstModel(std::span<const uint8_t> operations);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FDB_MODEL_H_
