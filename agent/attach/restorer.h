// Restorer: reopens the ports of attachments after a restart of the agent. It ends an attachment
// whose interface is gone; one whose port cannot be opened yet waits, and is retried every kRetry.
// Not here: reading the records (attachment_table.h).

#ifndef VXVDE_AGENT_ATTACH_RESTORER_H_
#define VXVDE_AGENT_ATTACH_RESTORER_H_

#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/attach/attachment_resources.h"
#include "agent/attach/attachment_table.h"
#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/config.h"
#include "agent/kernel/links.h"
#include "agent/store/store.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

class Restorer {
 public:
  static constexpr std::chrono::seconds kRetry{2};

  // All of them outlive it.
  struct Parts {
    EventLoop* loop;
    const Log* log;
    const Links* links;
    JoinedClouds* clouds;
    AttachmentTable* table;
    AttachmentResources* resources;
    const Config* config;
  };
  explicit Restorer(const Parts& parts) : parts_(parts), retry_(parts.loop) {}

  // `ports`: the unicast port that each cloud had before the restart.
  void Start(const UnicastPorts& ports);

 private:
  // Restores all waiting attachments.
  void RestoreWaiting();
  // NotFound: its interface is gone.
  absl::Status RestoreOne(Attachment& attachment);
  void Wait(Attachment& attachment, absl::string_view problem);

  Parts parts_;
  Timer retry_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_RESTORER_H_
