#include "agent/ctl/attachments.h"

#include <chrono>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attach.pb.h"
#include "agent/api/attach_socket.h"
#include "agent/ctl/table.h"
#include "plugin/base/status.h"
#include "plugin/os/netns.h"

namespace vxvde {
namespace {

namespace pb = ::vxvde::attach::v1;

constexpr std::chrono::seconds kTimeout{5};

// Sends one request on a connection of its own. An Error is a reply like any other.
absl::StatusOr<pb::Reply> Ask(const std::string& path, const pb::Request& request) {
  const absl::StatusOr<AttachSocket> socket = AttachSocket::Connect(path, kTimeout);
  absl::StatusOr<pb::Reply> reply =
      socket.ok() ? socket->Ask(request, UniqueFd()) : absl::StatusOr<pb::Reply>(socket.status());
  if (reply.ok()) return reply;
  return absl::Status(
      reply.status().code(),
      absl::StrCat("no answer from the agent at ", path, ": ", reply.status().message(),
                   " (check that it runs, and that you are root or the agent's own user)"));
}

absl::Status Refused(const pb::Error& error) {
  return absl::FailedPreconditionError(absl::StrCat(error.message(), ": ", error.details()));
}

absl::StatusOr<std::vector<pb::Listed::Attachment>> ListAll(const std::string& path) {
  std::vector<pb::Listed::Attachment> all;
  pb::Request request;
  request.mutable_list();
  while (true) {
    ASSIGN_OR_RETURN(const pb::Reply reply, Ask(path, request));
    if (reply.has_error()) return Refused(reply.error());
    const auto& page = reply.listed();
    all.insert(all.end(), page.attachments().begin(), page.attachments().end());
    if (!page.more() || page.attachments().empty()) return all;
    request.mutable_list()->set_after(all.back().id());
  }
}

AttachmentFinding About(const pb::Listed::Attachment& one) {
  return {.network = one.key().network(),
          .container = one.key().container_id(),
          .ifname = one.key().ifname(),
          .netns = one.netns(),
          .finding = "",
          .remedy = ""};
}

}  // namespace

absl::StatusOr<std::vector<AttachmentFinding>> CheckAttachments(const std::string& socket) {
  ASSIGN_OR_RETURN(const std::vector<pb::Listed::Attachment> all, ListAll(socket));
  std::vector<AttachmentFinding> findings;
  for (const pb::Listed::Attachment& one : all) {
    if (one.planned() || one.ended()) continue;
    pb::Request request;
    *request.mutable_check()->mutable_key() = one.key();
    ASSIGN_OR_RETURN(const pb::Reply reply, Ask(socket, request));
    findings.push_back(About(one));
    findings.back().finding = reply.error().message();
    findings.back().remedy = reply.error().details();
  }
  return findings;
}

void AddObstacles(const v1::ListCloudsResponse& clouds, const v1::ListPortsResponse& ports,
                  std::vector<AttachmentFinding>& findings) {
  std::map<std::string, std::string> of_cloud;
  for (const v1::Cloud& cloud : clouds.clouds()) {
    if (cloud.obstructed()) of_cloud[cloud.name()] = cloud.datapath_reason();
  }
  using Key = std::tuple<std::string, std::string, std::string>;
  std::map<Key, std::string> of_port;
  for (const v1::Port& port : ports.ports()) {
    const v1::Attachment& attachment = port.attachment();
    const auto cloud = of_cloud.find(port.cloud());
    if (!port.obstructed() && cloud == of_cloud.end()) continue;
    of_port[{attachment.network(), attachment.container_id(), attachment.ifname()}] =
        port.obstructed() ? port.datapath_reason() : cloud->second;
  }
  for (AttachmentFinding& one : findings) {
    const auto found = of_port.find({one.network, one.container, one.ifname});
    if (found == of_port.end() || !one.finding.empty()) continue;
    one.finding = absl::StrCat("the agent forwards instead of the kernel: ", found->second);
    one.remedy =
        "detach that program, or have it answer TC_ACT_UNSPEC or TCX_NEXT for other "
        "programs' frames";
  }
}

absl::StatusOr<std::vector<AttachmentFinding>> CollectEnded(const std::string& socket,
                                                            bool dry_run) {
  ASSIGN_OR_RETURN(const std::vector<pb::Listed::Attachment> all, ListAll(socket));
  std::vector<AttachmentFinding> findings;
  for (const pb::Listed::Attachment& one : all) {
    if (!one.ended()) continue;
    findings.push_back(About(one));
    std::string& finding = findings.back().finding;
    const absl::Status netns = OpenNetNs(one.netns()).status();
    // A file that is not a namespace was one until it was unmounted.
    if (!absl::IsNotFound(netns) && !absl::IsInvalidArgument(netns)) {
      finding = "kept: its namespace exists";
    } else if (dry_run) {
      finding = "would be forgotten";
    } else {
      pb::Request request;
      *request.mutable_detach()->mutable_key() = one.key();
      request.mutable_detach()->set_only_ended(true);
      ASSIGN_OR_RETURN(const pb::Reply reply, Ask(socket, request));
      if (reply.has_error()) return Refused(reply.error());
      finding = reply.detached().found() ? "forgotten" : "already gone, or attached again";
    }
  }
  return findings;
}

std::string FindingsView(const std::vector<AttachmentFinding>& all, const std::string& title,
                         bool wide) {
  std::vector<Table::Column> columns = {{"NETWORK"}, {"CONTAINER"}, {"INTERFACE"}, {title}};
  if (wide) columns.insert(columns.end(), {{"REMEDY"}, {"NETNS"}});
  Table table(std::move(columns));
  for (const AttachmentFinding& one : all) {
    std::vector<std::string> cells = {one.network, one.container, one.ifname, one.finding};
    if (wide) cells.insert(cells.end(), {one.remedy, one.netns});
    table.Add(std::move(cells));
  }
  return table.Render();
}

google::protobuf::Struct FindingsMessage(const std::vector<AttachmentFinding>& all,
                                         const std::string& name) {
  google::protobuf::Struct out;
  google::protobuf::ListValue& list = *(*out.mutable_fields())["attachments"].mutable_list_value();
  for (const AttachmentFinding& one : all) {
    auto& fields = *list.add_values()->mutable_struct_value()->mutable_fields();
    fields["network"].set_string_value(one.network);
    fields["containerId"].set_string_value(one.container);
    fields["ifname"].set_string_value(one.ifname);
    fields["netns"].set_string_value(one.netns);
    fields[name].set_string_value(one.finding);
    if (!one.remedy.empty()) fields["remedy"].set_string_value(one.remedy);
  }
  return out;
}

}  // namespace vxvde
