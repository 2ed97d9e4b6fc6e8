// Selects the frames of pods that the programs punt because port security may refuse them: at least those
// that plugin/cloud/guard.cc refuses, which kernel_root_test.cc compares.

#ifndef VXVDE_PLUGIN_FASTPATH_GUARD_BPF_H_
#define VXVDE_PLUGIN_FASTPATH_GUARD_BPF_H_

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "plugin/fastpath/abi.h"

#define NOT_SLOW FP_SLOW_REASONS
#define IP_OFFSET 0x1fff  // of a fragment
#define VLAN_ID 0x0fff
// As in plugin/cloud/guard.cc. The first two are of RFC 7401 and RFC 5533; linux/in6.h lacks them.
#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140
#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define DHCP6_SERVER 547
#define DHCP6_CLIENT 546
#define ND_FIRST 133
#define ND_LAST 137

static __always_inline bool is_server(struct __sk_buff *skb, __u32 at, __u16 server, __u16 client) {
  struct {
    __be16 source, dest;
  } ports;
  if (bpf_skb_load_bytes(skb, at, &ports, sizeof(ports))) return true;
  return ports.source == bpf_htons(server) || ports.dest == bpf_htons(client);
}

// The reason for which a pod's frame goes to the guard, whatever the port may send; NOT_SLOW: it need not.
// A source MAC that the port may not use needs no check: it has no entry at the port, so the frame is punted.
static __always_inline __u32 guarded(struct __sk_buff *skb, __be16 proto) {
  // A VLAN with a number is another network; number 0 is a priority tag.
  if (skb->vlan_present) return skb->vlan_tci & VLAN_ID ? NOT_SLOW : FP_SLOW_GUARDED;
  if (proto == bpf_htons(ETH_P_IP)) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
        ETH_HLEN + ip.ihl * 4 > skb->len) {
      return FP_SLOW_GUARDED;
    }
    // Only the first fragment has ports.
    if (ip.protocol != IPPROTO_UDP || (ip.frag_off & bpf_htons(IP_OFFSET))) return NOT_SLOW;
    return is_server(skb, ETH_HLEN + ip.ihl * 4, DHCP_SERVER, DHCP_CLIENT) ? FP_SLOW_GUARDED : NOT_SLOW;
  }
  if (proto != bpf_htons(ETH_P_IPV6)) return FP_SLOW_KIND;
  struct ipv6hdr ip;
  __u8 type;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6) return FP_SLOW_GUARDED;
  switch (ip.nexthdr) {
    case IPPROTO_TCP:
      return NOT_SLOW;
    case IPPROTO_UDP:
      // The length must reach the ports.
      if (ip.payload_len && bpf_ntohs(ip.payload_len) < 4) return FP_SLOW_GUARDED;
      return is_server(skb, ETH_HLEN + sizeof(ip), DHCP6_SERVER, DHCP6_CLIENT) ? FP_SLOW_GUARDED : NOT_SLOW;
    case IPPROTO_ICMPV6:
      if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), &type, sizeof(type))) return FP_SLOW_GUARDED;
      return type >= ND_FIRST && type <= ND_LAST ? FP_SLOW_GUARDED : NOT_SLOW;
    // Extension headers can be followed by anything.
    case IPPROTO_HOPOPTS:
    case IPPROTO_ROUTING:
    case IPPROTO_FRAGMENT:
    case IPPROTO_AH:
    case IPPROTO_DSTOPTS:
    case IPPROTO_MH:
    case IPPROTO_HIP:
    case IPPROTO_SHIM6:
      return FP_SLOW_GUARDED;
    default:
      return NOT_SLOW;
  }
}

#endif  // VXVDE_PLUGIN_FASTPATH_GUARD_BPF_H_
