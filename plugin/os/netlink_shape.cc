// Netlink::ShapeLink. Source: linux/pkt_sched.h, tbf_change() in net/sched/sch_tbf.c, and for the
// latency the bandwidth plugin of containernetworking-plugins.

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

constexpr uint64_t kWaitsAtMostMs = 25;

}  // namespace

absl::Status Netlink::ShapeLink(IfIndex index, const Shape& shape) {
  const uint32_t number = static_cast<uint32_t>(index);
  const std::string what = absl::StrCat("shape link ", number, " to ", shape.rate, " bit/s, burst ",
                                        shape.burst, " bit");
  const uint64_t rate = shape.rate / 8;
  const uint64_t burst = shape.burst / 8;
  ASSIGN_OR_RETURN(const LinkInfo link, GetLink(index));
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
      static_cast<uint32_t>(std::min<uint64_t>(rate / 1000 * kWaitsAtMostMs + burst, UINT32_MAX));

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
  return Do(request, what);
}

}  // namespace vxvde
