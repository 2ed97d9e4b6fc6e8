// Sources: tc_get_qdisc() in net/sched/sch_api.c, tc_dump_tfilter() in net/sched/cls_api.c,
// cls_bpf_dump() in net/sched/cls_bpf.c, linux/pkt_sched.h, tbf_change() in net/sched/sch_tbf.c,
// and for the latency of a shaper the bandwidth plugin of containernetworking-plugins.

#include "plugin/os/traffic_control.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

constexpr uint64_t kMaxWaitMs = 25;

}  // namespace

// Asks for each parent: the kernel's list has the qdiscs of all links, and with hundreds of links
// takes longer than everything else that a port needs.
absl::StatusOr<std::vector<QdiscInfo>> ListQdiscs(Netlink& netlink, IfIndex index) {
  std::vector<QdiscInfo> qdiscs;
  for (const uint32_t parent : {TC_H_ROOT, TC_H_INGRESS}) {
    tcmsg header = {};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = static_cast<int>(index);
    header.tcm_parent = parent;
    // The kernel answers only a request with NLM_F_ECHO: tc_get_qdisc() in net/sched/sch_api.c.
    NetlinkRequest request(RTM_GETQDISC, NLM_F_ECHO, header);
    int error = 0;
    const absl::Status asked = netlink.Exchange(
        request, absl::StrCat("get queueing discipline of link ", static_cast<uint32_t>(index)),
        [&](const nlmsghdr* reply) {
          if (reply->nlmsg_type != RTM_NEWQDISC || !nlmsg_valid_hdr(reply, sizeof(tcmsg))) {
            return absl::OkStatus();
          }
          const auto* qdisc = static_cast<const tcmsg*>(nlmsg_data(reply));
          qdiscs.push_back({.kind = Attributes(reply, sizeof(tcmsg)).Text(TCA_KIND),
                            .parent = qdisc->tcm_parent});
          return absl::OkStatus();
        },
        &error);
    // There is none, or only the kernel's default, which it does not report.
    if (error == ENOENT || error == EINVAL) continue;
    RETURN_IF_ERROR(asked);
  }
  return qdiscs;
}

absl::StatusOr<std::vector<FilterInfo>> ListFilters(Netlink& netlink, IfIndex index,
                                                    Direction direction) {
  tcmsg header = {};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(index);
  header.tcm_parent =
      TC_H_MAKE(TC_H_CLSACT, direction == Direction::kIngress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP, header);
  std::vector<FilterInfo> filters;
  RETURN_IF_ERROR(netlink.Dump(
      request, absl::StrCat("list the filters of link ", static_cast<uint32_t>(index)),
      [&] { filters.clear(); },
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWTFILTER || !nlmsg_valid_hdr(reply, sizeof(tcmsg))) {
          return absl::OkStatus();
        }
        const auto* filter = static_cast<const tcmsg*>(nlmsg_data(reply));
        const Attributes attributes(reply, sizeof(tcmsg));
        if (attributes.U32(TCA_CHAIN).value_or(0) != 0) return absl::OkStatus();
        FilterInfo info{.kind = attributes.Text(TCA_KIND),
                        .priority = static_cast<uint16_t>(TC_H_MAJ(filter->tcm_info) >> 16),
                        .protocol = ntohs(static_cast<uint16_t>(TC_H_MIN(filter->tcm_info))),
                        .handle = filter->tcm_handle,
                        .program = {}};
        const nlattr* options = attributes.Find(TCA_OPTIONS);
        if (info.kind == "bpf" && options != nullptr) {
          info.program = Attributes(options).Text(TCA_BPF_NAME);
          info.program_id = Attributes(options).U32(TCA_BPF_ID).value_or(0);
        }
        filters.push_back(std::move(info));
        return absl::OkStatus();
      }));
  return filters;
}

absl::Status ShapeLink(Netlink& netlink, IfIndex index, const Shape& shape) {
  const uint32_t number = static_cast<uint32_t>(index);
  const std::string what = absl::StrCat("shape link ", number, " to ", shape.rate, " bit/s, burst ",
                                        shape.burst, " bit");
  const uint64_t rate = shape.rate / 8;
  const uint64_t burst = shape.burst / 8;
  ASSIGN_OR_RETURN(const LinkInfo link, netlink.GetLink(index));
  // A frame larger than the bucket is never sent.
  if (rate == 0 || burst < static_cast<uint64_t>(link.mtu) + ETH_HLEN || burst > UINT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": the rate must be at least 8, and the burst from ", 8 * (link.mtu + ETH_HLEN),
        " (one frame) to ", 8 * static_cast<uint64_t>(UINT32_MAX)));
  }
  tc_tbf_qopt options = {};
  options.rate.rate = static_cast<uint32_t>(std::min<uint64_t>(rate, UINT32_MAX));
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;
  options.limit =
      static_cast<uint32_t>(std::min<uint64_t>(rate / 1000 * kMaxWaitMs + burst, UINT32_MAX));

  tcmsg header = {};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(number);
  header.tcm_parent = TC_H_ROOT;
  header.tcm_handle = 1 << 16;  // 1:0
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, header);
  request.PutName(TCA_KIND, "tbf");
  request.Nest(TCA_OPTIONS, [&] {
    request.Put(TCA_TBF_PARMS, &options, sizeof(options));
    request.PutU32(TCA_TBF_BURST, static_cast<uint32_t>(burst));
    if (rate > UINT32_MAX) request.Put(TCA_TBF_RATE64, &rate, sizeof(rate));
  });
  return netlink.Do(request, what);
}

}  // namespace vxvde
