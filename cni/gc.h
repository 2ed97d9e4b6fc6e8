// GC: what the runtime has forgotten is given back. Changes nothing that is alive, another
// network's, or not made through CNI.
// Source: CNI SPEC 1.1.0, "GC".

#ifndef VXVDE_CNI_GC_H_
#define VXVDE_CNI_GC_H_

#include "absl/status/status.h"
#include "cni/commands.h"
#include "cni/request.h"

namespace vxvde {

// Runs DEL for each attachment of the network that the agent knows, that CNI made and that
// `request.valid` does not list; except while its namespace is there with our interface in it:
// a runtime may be in the middle of an ADD, and an interface that is in use is worth more than
// one that is not listed. Then tells the IPAM plugin, with what stays. Goes on after errors;
// the error names all. When the agent cannot say what there is, nothing is removed.
absl::Status CollectGarbage(const Request& request, const Outside& outside);

}  // namespace vxvde

#endif  // VXVDE_CNI_GC_H_
