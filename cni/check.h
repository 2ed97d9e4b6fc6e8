// CHECK: is what ADD made still there, and do frames flow? Changes nothing.
// Source: CNI SPEC 1.1.0, "CHECK".

#ifndef VXVDE_CNI_CHECK_H_
#define VXVDE_CNI_CHECK_H_

#include "absl/status/status.h"
#include "cni/commands.h"
#include "cni/request.h"

namespace vxvde {

// AttachError::kChanged names all that is not as ADD left it; the agent's codes say that no
// frame flows. What later plugins added is theirs: more addresses, routes and interfaces, a
// smaller MTU, and a MAC that they put into the result.
absl::Status Check(const Request& request, const Outside& outside);

}  // namespace vxvde

#endif  // VXVDE_CNI_CHECK_H_
