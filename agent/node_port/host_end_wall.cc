#include "agent/node_port/host_end_wall.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr char kTable[] = "vxvde-wall";

// Before defragmentation for connection tracking (-400), and after everything else.
constexpr int kFirst = -500;
constexpr int kLast = 500;

// A table that drops packets from host ends at the hook `in`, and packets to them at `out`.
NftTable Table(NftFamily family, NftHookPoint in, NftHookPoint out) {
  const NftValue group = NftNumber(kHostEndGroup);
  return {.family = family,
          .name = kTable,
          .chains = {{.name = "from_host_ends",
                      .hook = NftHook{.type = "filter", .point = in, .priority = kFirst},
                      .rules = {NftRule().Is(NftField::kInputGroup, group).Count().Drop()}},
                     {.name = "to_host_ends",
                      .hook = NftHook{.type = "filter", .point = out, .priority = kLast},
                      .rules = {NftRule().Is(NftField::kOutputGroup, group).Count().Drop()}}}};
}

}  // namespace

std::vector<NftTable> HostEndRules(bool wanted) {
  if (!wanted) {
    return {{.family = NftFamily::kInet, .name = kTable},
            {.family = NftFamily::kArp, .name = kTable}};
  }
  return {Table(NftFamily::kInet, NftHookPoint::kPrerouting, NftHookPoint::kPostrouting),
          Table(NftFamily::kArp, NftHookPoint::kArpInput, NftHookPoint::kArpOutput)};
}

absl::StatusOr<HostEndLinks> KernelHostEndLinks() {
  ASSIGN_OR_RETURN(Netlink opened, Netlink::Open());
  const auto netlink = std::make_shared<Netlink>(std::move(opened));
  return HostEndLinks{.list = [netlink] { return netlink->ListLinks(); },
                      .mark =
                          [netlink](IfIndex host_end) {
                            LinkChange change;
                            change.group = kHostEndGroup;
                            return netlink->ChangeLink(host_end, change);
                          }};
}

HostEndWall::HostEndWall(EventLoop* loop, const Log* log, NftKernel rules, HostEndLinks links)
    : log_(log),
      rules_(loop, log, kTable, std::move(rules)),
      links_(std::move(links)),
      retry_(loop),
      mark_(loop) {}

void HostEndWall::Want(bool wanted) {
  wanted_ = wanted;
  Apply();
}

void HostEndWall::Apply() {
  retry_.Cancel();
  rules_problem_ = rules_.Set(HostEndRules(wanted_ || host_ends_));
  if (rules_problem_.ok()) said_ = absl::OkStatus();
  if (rules_problem_.ok() || DoesWithoutRules()) return;
  if (said_ != rules_problem_) {
    said_ = rules_problem_;
    log_->Error("no wall behind host ends",
                {{"error", std::string(said_.message())},
                 {"effect", "pods reach the node's own stack through their host ends"}});
  }
  retry_.After(NftKeeper::kRetry, [this] { Apply(); });
}

bool HostEndWall::DoesWithoutRules() const {
  return !host_ends_ && (!wanted_ || !BlocksPods(rules_problem_));
}

void HostEndWall::OnLinkChange() {
  if (!mark_.pending()) mark_.After(kSettle, [this] { MarkLinks(); });
}

void HostEndWall::MarkLinks() {
  const absl::StatusOr<std::vector<LinkInfo>> links = links_.list();
  absl::Status status = links.status();
  if (links.ok()) {
    host_ends_ = false;
    for (const LinkInfo& link : *links) {
      if (!IsHostEnd(link.name, link.alias)) continue;
      host_ends_ = true;
      if (link.group == kHostEndGroup) continue;
      const absl::Status marked = links_.mark(link.index);
      if (!absl::IsNotFound(marked)) status.Update(marked);  // NotFound: the link no longer exists
    }
  }
  if (!status.ok() && status != links_problem_) {
    log_->Error("host ends not in their group", {{"error", std::string(status.message())}});
  }
  links_problem_ = status;
  if (!links_problem_.ok()) OnLinkChange();  // tries again
  Apply();
}

absl::Status HostEndWall::problem() const {
  absl::Status why;
  if (!DoesWithoutRules()) {
    why.Update(rules_problem_);
    why.Update(rules_.problem());
  }
  why.Update(links_problem_);
  return Annotate(why, "pods may reach the node's own stack through their host ends");
}

}  // namespace vxvde
