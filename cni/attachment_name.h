// The name of an attachment, and everything that is derived from it: its id, its key in messages to
// the agent, the names of its links. Also the one place that turns a request into the agent's Plan.
// Pure.
//
// agent/api/attachment_id.h defines the derivations, which the agent shares; agent/api/attach.proto
// defines the messages. This room sends nothing: agent_client.h does.

#ifndef VXVDE_CNI_ATTACHMENT_NAME_H_
#define VXVDE_CNI_ATTACHMENT_NAME_H_

#include <string>

#include "agent/api/attach.pb.h"
#include "cni/links.h"
#include "cni/request.h"

namespace vxvde {

struct AttachmentName {
  std::string network;
  std::string container_id;
  std::string ifname;
  std::string main_ifname;  // of the ADD that it is part of; never empty
};

// Names the attachment of `container` at `ifname`, or at the interface name of the container's ADD.
AttachmentName NameOf(const Network& network, const Container& container,
                      const std::string& ifname);
AttachmentName NameOf(const Network& network, const Container& container);
AttachmentName NameOf(const attach::v1::Listed::Attachment& listed);

std::string IdOf(const AttachmentName& name);
attach::v1::AttachmentKey KeyOf(const AttachmentName& name);
LinkNames LinksOf(const AttachmentName& name, const std::string& netns);

attach::v1::Plan PlanOf(const AddRequest& request, const Attachment& attachment);

}  // namespace vxvde

#endif  // VXVDE_CNI_ATTACHMENT_NAME_H_
