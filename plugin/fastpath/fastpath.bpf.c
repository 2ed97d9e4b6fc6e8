// The programs: from_pod at the host end of each fast port, from_cloud at the tap by which the cloud hands in
// frames of its own taps, from_uplink where datagrams come in, from_tunnel on the VXLAN device that makes the
// kernel aggregate them and decapsulates some (cloud_devices.h). Invariants F1-F4 are in fastpath.h.
//
// A program changes a frame only when it is certain to send it. It punts a frame, as it came, if the maps do
// not know its stations, if it is too large, or if it is of a kind that the helpers do not handle.
//
// Sources: bpf-helpers(7); bpf_skb_adjust_room() and bpf_skb_net_grow() in net/core/filter.c; RFC 7348.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/guard.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";  // the kernel's helpers require a GPL-compatible one

// Linux 6.3 and later; older headers lack them.
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

#define IP_FRAGMENT 0x3fff  // more fragments, or an offset (RFC 791, section 3.1)
#define TCP_OFFSET_AT 12    // data offset, in the upper half of that byte
#define IPV6_HOPS 64

// The answer for a packet that is not the agent's: the next filter, or the next program of a tcx chain,
// decides (TCX_NEXT is the same number). TC_ACT_OK would end the chain and bypass those.
#define NOT_OURS TC_ACT_UNSPEC

_Static_assert(FP_CLOUDS <= 256 && FP_PORTS <= FP_TUNNEL_PROBE, "both fit into a mark");

// For the next agent; no program reads it.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct fp_node);
} fp_node SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FP_CLOUDS);
  __type(key, __u32);
  __type(value, struct fp_cloud);
} fp_clouds SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, FP_PORTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, struct fp_port);
} fp_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, FP_STATIONS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct fp_station_key);
  __type(value, struct fp_station);
} fp_stations SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FP_PEERS);
  __type(key, __u32);
  __type(value, struct fp_peer);
} fp_peers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct fp_local);
  __type(value, __u32);
} fp_locals SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, FP_PORTS);
  __type(key, __u32);
  __type(value, struct fp_counters);
} fp_port_counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, FP_PEERS);
  __type(key, __u32);
  __type(value, struct fp_counters);
} fp_peer_counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, FP_CLOUDS);
  __type(key, __u32);
  __type(value, struct fp_slow);
} fp_slow SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FP_PORTS);
  __type(key, __u32);
  __type(value, struct fp_rules);
} fp_rules SEC(".maps");

// The agent maps the same memory and writes to it (punt_room.h).
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FP_PORTS);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct fp_punts);
} fp_punts SEC(".maps");

struct outer4 {
  struct ethhdr eth;
  struct iphdr ip;
  struct udphdr udp;
  __u8 vxvde[8];
  struct ethhdr inner;
} __attribute__((packed, aligned(4)));

struct outer6 {
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct udphdr udp;
  __u8 vxvde[8];
  struct ethhdr inner;
} __attribute__((packed, aligned(4)));

FP_SIZE(struct outer4, 64);
FP_SIZE(struct outer6, 84);
#define ADDED4 (sizeof(struct outer4) - ETH_HLEN)  // 50
#define ADDED6 (sizeof(struct outer6) - ETH_HLEN)  // 70

static __always_inline void count_slow(__u32 cloud, __u32 reason) {
  struct fp_slow *slow = bpf_map_lookup_elem(&fp_slow, &cloud);
  if (slow && reason < FP_SLOW_REASONS) slow->count[reason]++;
}

static __always_inline void count_from(void *map, __u32 slot, __u32 frames, __u32 bytes) {
  struct fp_counters *counters = bpf_map_lookup_elem(map, &slot);
  if (!counters) return;
  counters->from_frames += frames;
  counters->from_bytes += bytes;
}

static __always_inline void count_to(void *map, __u32 slot, __u32 frames, __u32 bytes) {
  struct fp_counters *counters = bpf_map_lookup_elem(map, &slot);
  if (!counters) return;
  counters->to_frames += frames;
  counters->to_bytes += bytes;
}

static __always_inline bool same_addr(const __u8 *a, const __u8 *b) {
  const __u64 *left = (const __u64 *)a, *right = (const __u64 *)b;
  return left[0] == right[0] && left[1] == right[1];
}

// The address of Hello (plugin/wire/hello.h).
static __always_inline bool is_hello(const __u8 *mac) {
  return mac[0] == 0x03 && mac[1] == 0x76 && mac[2] == 0x78 && mac[3] == 0x76 && mac[4] == 0x64 && mac[5] == 0x65;
}

static __always_inline void map_ipv4(__u8 *out, __be32 addr) {
  __builtin_memset(out, 0, 10);
  out[10] = 0xff;
  out[11] = 0xff;
  __builtin_memcpy(out + 12, &addr, 4);
}

static __always_inline struct fp_station *find(__u32 cloud, const __u8 *mac) {
  struct fp_station_key key = {.cloud = cloud};
  __builtin_memcpy(key.mac, mac, ETH_ALEN);
  return bpf_map_lookup_elem(&fp_stations, &key);
}

// A second is precise enough, and a cache line that is not written stays shared between CPUs.
static __always_inline void saw(struct fp_station *station) {
  const __u32 now = bpf_ktime_get_coarse_ns() / 1000000000;
  if (station->seen_sec != now) station->seen_sec = now;
}

// Bytes from the inner Ethernet header to the TCP payload; 0: it is not TCP, or has headers that this function
// does not parse. `at`: offset of the inner IP header.
//
// Super-datagrams (UDP_SEGMENT) do not pass: a decapsulated one keeps its tunnel's GSO marks, and
// udp4_ufo_fragment() would take its datagrams for a tunnel when it segments them for a socket.
static __always_inline __u32 headers_of(struct __sk_buff *skb, __be16 proto, __u32 at) {
  __u32 transport;
  __u8 protocol;
  if (proto == bpf_htons(ETH_P_IP)) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return 0;
    if (ip.version != 4 || ip.ihl < 5 || (ip.frag_off & bpf_htons(IP_FRAGMENT))) return 0;
    transport = ip.ihl * 4;
    protocol = ip.protocol;
  } else {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return 0;
    transport = sizeof(ip);
    protocol = ip.nexthdr;
  }
  if (protocol != IPPROTO_TCP) return 0;
  __u8 offset;
  if (bpf_skb_load_bytes(skb, at + transport + TCP_OFFSET_AT, &offset, 1)) return 0;
  return ETH_HLEN + transport + (offset >> 4) * 4;
}

// The length in the inner IP header, header included; 0: there is none to compare with.
static __always_inline __u32 ip_size(struct __sk_buff *skb, __be16 proto, __u32 at) {
  if (proto == bpf_htons(ETH_P_IP)) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return 0;
    return bpf_ntohs(ip.tot_len);
  }
  struct ipv6hdr ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) return 0;
  return ip.payload_len ? sizeof(ip) + bpf_ntohs(ip.payload_len) : 0;
}

// The frame must leave through the host end, instead of entering the pod's namespace directly.
static __always_inline bool by_host_end(const struct fp_station *to) {
  if (to->where != FP_AT_PORT) return true;
  const __u32 slot = to->slot;
  const struct fp_rules *rules = bpf_map_lookup_elem(&fp_rules, &slot);
  return rules && rules->flags & FP_RULE_EGRESS;
}

// The number of frames in a super-frame of `size` bytes.
static __always_inline __u32 frames_of(__u32 size, __u32 headers, __u32 gso_size) {
  if (!gso_size || size <= headers) return 1;
  return (size - headers + gso_size - 1) / gso_size;
}

// Takes tokens for `frames` from the port's bucket, as plugin/cloud/token_bucket.h does.
static __always_inline bool may_flood(struct fp_punts *punts, const struct fp_rules *rules, __u32 frames) {
  const __u64 now = bpf_ktime_get_ns();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const __u64 full_at = *(volatile __u64 *)&punts->full_at;
    const __u64 next = (full_at > now ? full_at : now) + (__u64)frames * rules->flood_gap;
    if (next - now > rules->flood_depth) return false;
    if (__sync_val_compare_and_swap(&punts->full_at, full_at, next) == full_at) return true;
  }
  return true;  // other CPUs won each time; the room at the tap is still limited
}

// All ports of a cloud share the queue of its frames tap, and the agent that reads it. No port may fill the
// queue, or keep the agent busy with frames to groups. Frames to groups have a share of their own, so that a
// flood leaves room for the port's other frames, such as ARP replies and first frames of flows.
static __noinline int may_punt(struct __sk_buff *skb, __u32 port) {
  struct fp_punts *punts = bpf_map_lookup_elem(&fp_punts, &port);
  const struct fp_rules *rules = bpf_map_lookup_elem(&fp_rules, &port);
  if (!punts || !rules) return 1;
  __u8 first = 0;
  bpf_skb_load_bytes(skb, 0, &first, sizeof(first));
  const __u32 frames = skb->gso_size && skb->gso_segs ? skb->gso_segs : 1;
  const __u32 kind = first & 1 ? FP_PUNT_FLOOD : FP_PUNT_OTHER;
  const bool room = (__s32)(punts->in[kind] - punts->out[kind]) < FP_PUNT_ROOM;
  if (room && (kind == FP_PUNT_OTHER || !rules->flood_gap || may_flood(punts, rules, frames))) {
    __sync_fetch_and_add(&punts->in[kind], 1);
    return 1;
  }
  __sync_fetch_and_add(&punts->refused, frames);
  return 0;
}

// The tag names the port. It stands before the frame's own tags.
static __always_inline int punt_frame(struct __sk_buff *skb, const struct fp_cloud *cloud,
                                      const struct fp_port *port, __u32 reason) {
  if (!may_punt(skb, port->port)) return TC_ACT_SHOT;
  count_slow(port->cloud, reason);
  if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021AD), port->port)) return TC_ACT_SHOT;
  return bpf_redirect(cloud->frames_tap, 0);
}

static __always_inline int punt_datagram(const struct fp_cloud *cloud, __u32 slot, __u32 reason) {
  count_slow(slot, reason);
  return bpf_redirect(cloud->datagrams_tap, 0);
}

static __always_inline __sum16 ip_checksum(const void *ip) {
  const __u16 *words = ip;
  __u32 sum = 0;
#pragma unroll
  for (int i = 0; i < 10; i++) sum += words[i];
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

// Returns 0, or an error and leaves the frame as it was.
static __always_inline long encapsulate4(struct __sk_buff *skb, const struct fp_cloud *cloud,
                                         const struct fp_peer *peer, const struct ethhdr *inner) {
  const __u32 size = skb->len + sizeof(struct udphdr) + 8;  // of the UDP datagram
  if (bpf_skb_adjust_room(skb, ADDED4, BPF_ADJ_ROOM_MAC,
                          BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
                              BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
                              BPF_F_ADJ_ROOM_ENCAP_L2_ETH)) {
    return -1;
  }
  struct outer4 outer = {};
  outer.eth.h_proto = bpf_htons(ETH_P_IP);  // bpf_redirect_neigh fills in the addresses
  outer.ip.version = 4;
  outer.ip.ihl = 5;
  outer.ip.tot_len = bpf_htons(size + sizeof(outer.ip));
  outer.ip.id = bpf_get_prandom_u32();  // routers may fragment it, as the agent's own datagrams
  outer.ip.ttl = cloud->ttl;
  outer.ip.protocol = IPPROTO_UDP;
  __builtin_memcpy(&outer.ip.saddr, peer->source + 12, 4);
  __builtin_memcpy(&outer.ip.daddr, peer->addr + 12, 4);
  outer.ip.check = ip_checksum(&outer.ip);
  outer.udp.source = cloud->unicast_port;
  outer.udp.dest = peer->fast_port;
  outer.udp.len = bpf_htons(size);
  __builtin_memcpy(outer.vxvde, cloud->header, sizeof(outer.vxvde));
  outer.inner = *inner;
  return bpf_skb_store_bytes(skb, 0, &outer, sizeof(outer), 0);
}

static __always_inline long encapsulate6(struct __sk_buff *skb, const struct fp_cloud *cloud,
                                         const struct fp_peer *peer, const struct ethhdr *inner) {
  const __u32 size = skb->len + sizeof(struct udphdr) + 8;
  if (bpf_skb_adjust_room(skb, ADDED6, BPF_ADJ_ROOM_MAC,
                          BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 |
                              BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
                              BPF_F_ADJ_ROOM_ENCAP_L2_ETH)) {
    return -1;
  }
  struct outer6 outer = {};
  outer.eth.h_proto = bpf_htons(ETH_P_IPV6);
  outer.ip.version = 6;
  outer.ip.payload_len = bpf_htons(size);
  outer.ip.nexthdr = IPPROTO_UDP;
  outer.ip.hop_limit = IPV6_HOPS;
  __builtin_memcpy(&outer.ip.saddr, peer->source, FP_ADDR_SIZE);
  __builtin_memcpy(&outer.ip.daddr, peer->addr, FP_ADDR_SIZE);
  outer.udp.source = cloud->unicast_port;
  outer.udp.dest = peer->fast_port;
  outer.udp.len = bpf_htons(size);  // without a checksum: RFC 6935, section 5
  __builtin_memcpy(outer.vxvde, cloud->header, sizeof(outer.vxvde));
  outer.inner = *inner;
  return bpf_skb_store_bytes(skb, 0, &outer, sizeof(outer), 0);
}

// Sends to another agent, or punts. `from` is the entry of the source in `eth`; `count`: counts the frame for
// its port, because the cloud has not.
static __always_inline int send_to_peer(struct __sk_buff *skb, const struct fp_cloud *cloud,
                                        const struct fp_port *port, const struct ethhdr *eth,
                                        struct fp_station *from, __u32 slot, bool count) {
  const __u32 size = skb->len;
  const __u32 gso_size = skb->gso_size;
  if (skb->vlan_present ||
      (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6))) {
    return punt_frame(skb, cloud, port, FP_SLOW_KIND);
  }
  const struct fp_peer *peer = bpf_map_lookup_elem(&fp_peers, &slot);
  if (!peer || !peer->uplink) return punt_frame(skb, cloud, port, FP_SLOW_UNKNOWN);
  const __u32 around = (cloud->v6 ? ADDED6 : ADDED4) - ETH_HLEN;  // the outer IP packet is larger by this
  __u32 frames = 1;
  if (gso_size) {
    const __u32 headers = headers_of(skb, eth->h_proto, ETH_HLEN);
    if (!headers) return punt_frame(skb, cloud, port, FP_SLOW_KIND);
    if (headers + gso_size + around > peer->mtu || size + around > 65535) {
      return punt_frame(skb, cloud, port, FP_SLOW_TOO_BIG);
    }
    frames = frames_of(size, headers, gso_size);
  } else if (size + around > peer->mtu) {
    return punt_frame(skb, cloud, port, FP_SLOW_TOO_BIG);
  }
  const __u32 uplink = peer->uplink;
  if (cloud->v6 ? encapsulate6(skb, cloud, peer, eth) : encapsulate4(skb, cloud, peer, eth)) {
    // In practice only adjust_room fails, and leaves the frame whole.
    return punt_frame(skb, cloud, port, FP_SLOW_ODD);
  }
  saw(from);
  if (count) count_from(&fp_port_counters, port->port, frames, size);
  count_to(&fp_peer_counters, slot, frames, size);
  return bpf_redirect_neigh(uplink, NULL, 0, 0);
}

SEC("tc")
int from_pod(struct __sk_buff *skb) {
  const __u32 ifindex = skb->ifindex;
  const struct fp_port *port = bpf_map_lookup_elem(&fp_ports, &ifindex);
  if (!port) return NOT_OURS;  // the agent reads this port itself
  const struct fp_cloud *cloud = bpf_map_lookup_elem(&fp_clouds, &port->cloud);
  if (!cloud || !cloud->frames_tap) return NOT_OURS;

  struct ethhdr eth;
  if (skb->len <= ETH_HLEN || bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) ||
      (eth.h_source[0] & 1)) {
    return punt_frame(skb, cloud, port, FP_SLOW_ODD);
  }
  if (eth.h_dest[0] & 1) return punt_frame(skb, cloud, port, FP_SLOW_GROUP);
  struct fp_station *from = find(port->cloud, eth.h_source);
  if (!from || (from->where != FP_AT_PORT && from->where != FP_AT_EGRESS) ||
      from->slot != port->port) {
    return punt_frame(skb, cloud, port, FP_SLOW_MOVED);
  }
  const __u32 look = guarded(skb, eth.h_proto);
  if (look != NOT_SLOW) return punt_frame(skb, cloud, port, look);
  const struct fp_station *to = find(port->cloud, eth.h_dest);
  if (!to) return punt_frame(skb, cloud, port, FP_SLOW_UNKNOWN);
  if (to->where == FP_AT_PEER) return send_to_peer(skb, cloud, port, &eth, from, to->slot, true);
  if (to->where != FP_AT_PORT && to->where != FP_AT_EGRESS) {
    return punt_frame(skb, cloud, port, FP_SLOW_SLOW_PORT);
  }
  if (to->slot == port->port) return punt_frame(skb, cloud, port, FP_SLOW_SAME_PORT);
  const __u32 size = skb->len;
  if (!skb->gso_size && size > to->mtu + ETH_HLEN) {
    return punt_frame(skb, cloud, port, FP_SLOW_TOO_BIG);
  }
  const __u32 frames = skb->gso_size && skb->gso_segs ? skb->gso_segs : 1;
  saw(from);
  count_from(&fp_port_counters, port->port, frames, size);
  count_to(&fp_port_counters, to->slot, frames, size);
  // The kernel has marked it PACKET_OTHERHOST: its destination is the pod's address, not the host end's.
  bpf_skb_change_type(skb, PACKET_HOST);
  return by_host_end(to) ? bpf_redirect(to->ifindex, 0) : bpf_redirect_peer(to->ifindex, 0);
}

// Handles a frame that the cloud has read from a tap and sends to a peer, with the tag of its port. Punts it
// as a frame of that port when it cannot be sent.
SEC("tc")
int from_cloud(struct __sk_buff *skb) {
  const __u32 ifindex = skb->ifindex;
  const struct fp_port *tap = bpf_map_lookup_elem(&fp_ports, &ifindex);
  if (!tap || !skb->vlan_present || skb->vlan_proto != bpf_htons(ETH_P_8021AD)) return TC_ACT_SHOT;
  const struct fp_port port = {.cloud = tap->cloud, .port = skb->vlan_tci & 0xffff};
  const struct fp_cloud *cloud = bpf_map_lookup_elem(&fp_clouds, &port.cloud);
  if (!cloud || !cloud->frames_tap || bpf_skb_vlan_pop(skb)) return TC_ACT_SHOT;

  struct ethhdr eth;
  if (skb->len <= ETH_HLEN || bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth))) {
    return punt_frame(skb, cloud, &port, FP_SLOW_ODD);
  }
  struct fp_station *from = find(port.cloud, eth.h_source);
  if (!from || from->where != FP_AT_TAP || from->slot != port.port) {
    return punt_frame(skb, cloud, &port, FP_SLOW_MOVED);
  }
  const struct fp_station *to = find(port.cloud, eth.h_dest);
  if (!to || to->where != FP_AT_PEER) return punt_frame(skb, cloud, &port, FP_SLOW_UNKNOWN);
  return send_to_peer(skb, cloud, &port, &eth, from, to->slot, false);
}

// Handles a datagram from `addr` to a fast port of this node. The caller has checked the lengths in its outer
// headers, which are `added` bytes behind the Ethernet header.
static __always_inline int receive(struct __sk_buff *skb, __u32 slot, const struct fp_cloud *cloud,
                                   const __u8 *addr, const struct udphdr *udp, const __u8 *header,
                                   const struct ethhdr *inner, __u32 added) {
  if (*(const __u64 *)header != *(const __u64 *)cloud->header || (inner->h_source[0] & 1)) {
    return punt_datagram(cloud, slot, FP_SLOW_ODD);
  }
  // A Hello goes both ways, so that the cloud learns whether the node's packet filter lets the way through
  // the stack open.
  if (is_hello(inner->h_dest) && !bpf_clone_redirect(skb, cloud->datagrams_tap, 0)) {
    count_slow(slot, FP_SLOW_GROUP);
    skb->mark = FP_MARK | slot << 16 | FP_TUNNEL_PROBE;
    return TC_ACT_OK;
  }
  if (udp->check) return punt_datagram(cloud, slot, FP_SLOW_ODD);  // programs send none
  if (inner->h_dest[0] & 1) return punt_datagram(cloud, slot, FP_SLOW_GROUP);
  struct fp_station *from = find(slot, inner->h_source);
  if (!from || from->where != FP_AT_PEER) return punt_datagram(cloud, slot, FP_SLOW_MOVED);
  const __u32 peer_slot = from->slot;
  const struct fp_peer *peer = bpf_map_lookup_elem(&fp_peers, &peer_slot);
  if (!peer || !peer->uplink || peer->port != udp->source || !same_addr(peer->addr, addr)) {
    return punt_datagram(cloud, slot, FP_SLOW_MOVED);
  }
  const struct fp_station *to = find(slot, inner->h_dest);
  if (!to || to->where == FP_AT_PEER) return punt_datagram(cloud, slot, FP_SLOW_UNKNOWN);
  if (to->where == FP_AT_SLOW_PORT) return punt_datagram(cloud, slot, FP_SLOW_SLOW_PORT);
  const __be16 proto = inner->h_proto;
  const bool ip = proto == bpf_htons(ETH_P_IP) || proto == bpf_htons(ETH_P_IPV6);
  const __u32 size = skb->len - added;  // of the frame
  const __u32 gso_size = skb->gso_size;
  // A run of datagrams from a sender's UDP_SEGMENT is a super-datagram of another kind: its inner length is
  // that of the first datagram.
  if (gso_size && (!ip || ip_size(skb, proto, added + ETH_HLEN) + ETH_HLEN != size)) {
    return punt_datagram(cloud, slot, FP_SLOW_ODD);
  }
  // A tap takes no super-frame with a tunnel's GSO marks, and only the VXLAN device removes them.
  if (to->where == FP_AT_TAP) {
    saw(from);
    count_from(&fp_peer_counters, peer_slot, gso_size && skb->gso_segs ? skb->gso_segs : 1, size);
    skb->mark = FP_MARK | slot << 16 | (to->slot & 0xffff);
    return TC_ACT_OK;
  }

  __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
  if (proto == bpf_htons(ETH_P_IP)) {
    if (cloud->v6) flags |= ADJ_ROOM_DECAP_L3_IPV4;
  } else if (proto == bpf_htons(ETH_P_IPV6)) {
    if (!cloud->v6) flags |= ADJ_ROOM_DECAP_L3_IPV6;
  } else {
    return punt_datagram(cloud, slot, FP_SLOW_KIND);
  }
  __u32 frames = 1;
  if (gso_size) {
    const __u32 headers = headers_of(skb, proto, added + ETH_HLEN);
    if (!headers) return punt_datagram(cloud, slot, FP_SLOW_KIND);
    frames = frames_of(size, headers, gso_size);
  } else if (size > to->mtu + ETH_HLEN) {
    return punt_datagram(cloud, slot, FP_SLOW_TOO_BIG);
  }
  const struct ethhdr eth = *inner;
  bool plain = by_host_end(to);
  if (bpf_skb_adjust_room(skb, -(__s32)added, BPF_ADJ_ROOM_MAC, flags)) {
    // Before Linux 6.3 no flag tells that the inner packet is of the other family. There the frame leaves
    // through the host end, which determines its protocol (eth_type_trans()).
    if (flags == BPF_F_ADJ_ROOM_FIXED_GSO ||
        bpf_skb_adjust_room(skb, -(__s32)added, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
      return punt_datagram(cloud, slot, FP_SLOW_ODD);
    }
    plain = true;
  }
  if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0)) return TC_ACT_SHOT;
  saw(from);
  count_from(&fp_peer_counters, peer_slot, frames, size);
  count_to(&fp_port_counters, to->slot, frames, size);
  return plain ? bpf_redirect(to->ifindex, 0) : bpf_redirect_peer(to->ifindex, 0);
}

// A datagram by another interface than the cloud's uplink passes: the uplink may be the bridge, bond or VRF
// above. What does not get there ends at from_tunnel.
SEC("tc")
int from_uplink(struct __sk_buff *skb) {
  if (skb->pkt_type != PACKET_HOST || skb->vlan_present) return NOT_OURS;
  struct fp_local local = {};
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    struct outer4 outer;
    if (bpf_skb_load_bytes(skb, 0, &outer, sizeof(outer))) return NOT_OURS;
    if (outer.ip.version != 4 || outer.ip.ihl != 5 || outer.ip.protocol != IPPROTO_UDP ||
        (outer.ip.frag_off & bpf_htons(IP_FRAGMENT))) {
      return NOT_OURS;
    }
    map_ipv4(local.addr, outer.ip.daddr);
    local.port = outer.udp.dest;
    const __u32 *slot = bpf_map_lookup_elem(&fp_locals, &local);
    if (!slot) return NOT_OURS;
    const struct fp_cloud *cloud = bpf_map_lookup_elem(&fp_clouds, slot);
    if (!cloud || !cloud->datagrams_tap || cloud->uplink != skb->ifindex) return NOT_OURS;
    const __u32 size = bpf_ntohs(outer.ip.tot_len);
    if (cloud->v6 || size + ETH_HLEN != skb->len ||
        bpf_ntohs(outer.udp.len) + sizeof(outer.ip) != size) {
      return punt_datagram(cloud, *slot, FP_SLOW_ODD);
    }
    __u8 from[FP_ADDR_SIZE] __attribute__((aligned(8)));
    map_ipv4(from, outer.ip.saddr);
    __u64 header;
    __builtin_memcpy(&header, outer.vxvde, sizeof(header));
    const struct ethhdr inner = outer.inner;
    const struct udphdr udp = outer.udp;
    return receive(skb, *slot, cloud, from, &udp, (const __u8 *)&header, &inner, ADDED4);
  }
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
    struct outer6 outer;
    if (bpf_skb_load_bytes(skb, 0, &outer, sizeof(outer))) return NOT_OURS;
    if (outer.ip.version != 6 || outer.ip.nexthdr != IPPROTO_UDP) return NOT_OURS;
    __builtin_memcpy(local.addr, &outer.ip.daddr, FP_ADDR_SIZE);
    local.port = outer.udp.dest;
    const __u32 *slot = bpf_map_lookup_elem(&fp_locals, &local);
    if (!slot) return NOT_OURS;
    const struct fp_cloud *cloud = bpf_map_lookup_elem(&fp_clouds, slot);
    if (!cloud || !cloud->datagrams_tap || cloud->uplink != skb->ifindex) return NOT_OURS;
    const __u32 size = bpf_ntohs(outer.ip.payload_len);
    if (!cloud->v6 || size + sizeof(outer.ip) + ETH_HLEN != skb->len ||
        bpf_ntohs(outer.udp.len) != size) {
      return punt_datagram(cloud, *slot, FP_SLOW_ODD);
    }
    __u8 from[FP_ADDR_SIZE] __attribute__((aligned(8)));
    __builtin_memcpy(from, &outer.ip.saddr, FP_ADDR_SIZE);
    __u64 header;
    __builtin_memcpy(&header, outer.vxvde, sizeof(header));
    const struct ethhdr inner = outer.inner;
    const struct udphdr udp = outer.udp;
    return receive(skb, *slot, cloud, from, &udp, (const __u8 *)&header, &inner, ADDED6);
  }
  return NOT_OURS;
}

static __always_inline void count_not_from_here(__u32 ifindex) {
  const struct fp_port *tunnel = bpf_map_lookup_elem(&fp_ports, &ifindex);
  if (!tunnel) return;
  const __u32 cloud = tunnel->cloud;
  struct fp_slow *slow = bpf_map_lookup_elem(&fp_slow, &cloud);
  if (slow) slow->not_from_here++;
}

// Frames that the VXLAN device has decapsulated go to the cloud, with a tag that names their port. A frame
// without a mark of from_uplink is dropped, and not left to the node's own stack: its datagram came in by an
// interface that the cloud is not on, or in fragments.
SEC("tc")
int from_tunnel(struct __sk_buff *skb) {
  const __u32 mark = skb->mark;
  if ((mark & FP_MARK_MASK) != FP_MARK) {
    count_not_from_here(skb->ifindex);
    return TC_ACT_SHOT;
  }
  const __u32 slot = (mark >> 16) & 0xff;
  const struct fp_cloud *cloud = bpf_map_lookup_elem(&fp_clouds, &slot);
  if (!cloud || !cloud->frames_tap) return TC_ACT_SHOT;
  const __u32 tap = cloud->frames_tap;
  skb->mark = 0;
  if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), mark & 0xffff)) return TC_ACT_SHOT;
  return bpf_redirect(tap, 0);
}
