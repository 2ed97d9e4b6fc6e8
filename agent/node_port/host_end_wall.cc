#include "agent/node_port/host_end_wall.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/nftables.h"

namespace vxvde {
namespace {

constexpr char kIpTable[] = "inet vxvde-wall";
constexpr char kArpTable[] = "arp vxvde-wall";

// Before defragmentation for connection tracking (-400) and behind everything else.
constexpr int kFirst = -500;
constexpr int kLast = 500;

// One table: what comes in at the hook `in` and what goes out at `out`.
std::string Table(absl::string_view table, absl::string_view in, absl::string_view out) {
  return absl::StrCat(                                                          //
      "table ", table, " {\n",                                                  //
      "  chain from_host_ends {\n",                                             //
      "    type filter hook ", in, " priority ", kFirst, "; policy accept;\n",  //
      "    iifgroup ", kHostEndGroup, " counter drop\n",                        //
      "  }\n",                                                                  //
      "  chain to_host_ends {\n",                                               //
      "    type filter hook ", out, " priority ", kLast, "; policy accept;\n",  //
      "    oifgroup ", kHostEndGroup, " counter drop\n",                        //
      "  }\n",                                                                  //
      "}\n");
}

}  // namespace

std::string HostEndRules(bool wanted) {
  std::string out;
  for (const char* table : {kIpTable, kArpTable}) {
    // The first line, so that the second has something to delete.
    absl::StrAppend(&out, "add table ", table, "\ndelete table ", table, "\n");
  }
  if (wanted) {
    absl::StrAppend(&out, Table(kIpTable, "prerouting", "postrouting"),
                    Table(kArpTable, "input", "output"));
  }
  return out;
}

NftKernel KernelHostEndRules() {
  return {.run = RunNft, .list = []() -> absl::StatusOr<std::string> {
            ASSIGN_OR_RETURN(const std::string ip, ListNftTable(kIpTable));
            ASSIGN_OR_RETURN(const std::string arp, ListNftTable(kArpTable));
            return absl::StrCat(ip, arp);
          }};
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
    : loop_(loop),
      log_(log),
      rules_(loop, log, "vxvde-wall", std::move(rules)),
      links_(std::move(links)) {}

HostEndWall::~HostEndWall() {
  if (retry_.has_value()) loop_->Cancel(*retry_);
  if (mark_.has_value()) loop_->Cancel(*mark_);
}

void HostEndWall::Want(bool wanted) {
  wanted_ = wanted;
  Apply();
}

void HostEndWall::Apply() {
  if (retry_.has_value()) loop_->Cancel(*retry_);
  retry_.reset();
  const bool wall = wanted_ || host_ends_;
  const absl::Status status = rules_.Set(HostEndRules(wall), /*none=*/!wall);
  if (status.ok()) {
    rules_problem_.clear();
    said_.clear();
    return;
  }
  rules_problem_ = std::string(status.message());
  // A rootless agent may not make rules, and has taps only. The first host end comes here again.
  if (!host_ends_) return;
  if (said_ != rules_problem_) {
    said_ = rules_problem_;
    log_->Error("no wall behind host ends",
                {{"error", rules_problem_},
                 {"effect", "pods reach the node's own stack through their host ends"}});
  }
  retry_ = loop_->After(NftTable::kRetry, [this] {
    retry_.reset();
    Apply();
  });
}

void HostEndWall::OnLinkChange() {
  if (mark_.has_value()) return;
  mark_ = loop_->After(kSettle, [this] {
    mark_.reset();
    MarkLinks();
  });
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
      if (!absl::IsNotFound(marked)) status.Update(marked);  // that: it has gone since
    }
  }
  std::string problem(status.message());
  if (!problem.empty() && problem != links_problem_) {
    log_->Error("host ends not in their group", {{"error", problem}});
  }
  links_problem_ = std::move(problem);
  if (!links_problem_.empty()) OnLinkChange();  // once more
  Apply();
}

std::string HostEndWall::problem() const {
  if (!host_ends_ && links_problem_.empty()) return "";
  for (const std::string* one : {&rules_problem_, &rules_.problem(), &links_problem_}) {
    if (!one->empty()) {
      return absl::StrCat("pods may reach the node's own stack through their host ends: ", *one);
    }
  }
  return "";
}

}  // namespace vxvde
