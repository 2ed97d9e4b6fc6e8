/* What the tc programs (fastpath.bpf.c, C, target bpf) and what feeds them (kernel.cc, C++) share:
 * the maps' keys and values. Both compilers read this file; sizes are asserted on both sides.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2). */

#ifndef VXVDE_PLUGIN_FASTPATH_ABI_H_
#define VXVDE_PLUGIN_FASTPATH_ABI_H_

#include <linux/types.h>

#ifdef __cplusplus
#define FP_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#else
#define FP_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif

/* Of all that is below. An agent goes on with the maps of the one before it when this is the same
 * there: it is raised when something gets another meaning, and not when a map is added. */
#define FP_ABI 1

/* Value of fp_node, whose only slot is 0. */
struct fp_node {
  __u32 abi; /* 0: the agent has not said so yet */
};
FP_SIZE(struct fp_node, 4);

/* Slots in the maps; what does not fit stays slow. */
#define FP_CLOUDS 256
#define FP_PORTS 4096
#define FP_PEERS 4096
#define FP_STATIONS (262144 + FP_PORTS)

#define FP_ADDR_SIZE 16

/* Value of fp_clouds, by slot. All zero: no cloud. */
struct fp_cloud {
  __u8 header[8];      /* the vxvde header of its datagrams */
  __u32 frames_tap;    /* interface index: where frames of pods are punted to, with a tag */
  __u32 datagrams_tap; /* interface index: where datagrams to the fast port are punted to */
  __be16 unicast_port;
  __u8 v6;  /* its peers' family */
  __u8 ttl; /* of IPv4 datagrams */
};
FP_SIZE(struct fp_cloud, 20);

/* Value of fp_ports, by interface index of the pod's host end, or of a cloud's frames_tap: there
 * each frame says by its tag which port it is from. */
struct fp_port {
  __u32 cloud; /* slot */
  __u32 port;  /* slot; the tag of its punted frames */
};
FP_SIZE(struct fp_port, 8);

/* Value of fp_rules, by the port's slot: what the cloud says of it. All zero: nothing. */
#define FP_RULE_EGRESS 1u /* FP_AT_PORT is to be taken for FP_AT_EGRESS */
struct fp_rules {
  __u32 flags;
  __u32 flood_gap;   /* nanoseconds for each frame to a group; 0: no limit */
  __u64 flood_depth; /* nanoseconds in advance */
};
FP_SIZE(struct fp_rules, 16);

/* Value of fp_punts, by the port's slot: its frames that wait at the frames tap. The programs
 * count in what they punt, the agent counts out what it has read, so that no port has more than
 * FP_PUNT_ROOM of a kind there, and the queue has room for others. */
#define FP_PUNT_FLOOD 0 /* to a group address */
#define FP_PUNT_OTHER 1
#define FP_PUNT_KINDS 2
#define FP_PUNT_ROOM 256
struct fp_punts {
  __u32 in[FP_PUNT_KINDS];
  __u32 out[FP_PUNT_KINDS];
  __u64
      full_at; /* CLOCK_MONOTONIC, ns: when the token bucket of its flooded frames is full again */
  __u64 refused; /* frames beyond these limits */
};
FP_SIZE(struct fp_punts, 32);

/* skb->mark of a datagram that from_uplink leaves to the kernel's own stack, which unpacks it for
 * from_tunnel: FP_MARK, 8 bits of the cloud's slot, 16 of the port's, which may be FP_TUNNEL_PROBE. No
 * bit of 0xe000 is ever set: kube-proxy's are there. */
#define FP_MARK 0x76000000u
#define FP_MARK_MASK 0xff000000u
#define FP_TUNNEL_PROBE 0x1fff

/* Key of fp_stations. */
struct fp_station_key {
  __u8 mac[6];
  __u16 cloud; /* slot */
};
FP_SIZE(struct fp_station_key, 8);

enum fp_where {
  FP_AT_PEER = 0,
  FP_AT_PORT = 1,   /* deliver into the namespace of the pod's end */
  FP_AT_EGRESS = 2, /* deliver through the host end: it shapes, or both ends are in one namespace */
  FP_AT_SLOW_PORT = 3, /* a port that the cloud serves itself */
  FP_AT_TAP = 4,       /* a port without an interface here: the cloud carries its frames, whole */
};

/* Value of fp_stations. Alive until the cloud takes it away, which it does when it has expired. */
struct fp_station {
  __u32 where;    /* enum fp_where */
  __u32 slot;    /* of the port or peer; FP_AT_SLOW_PORT: none */
  __u32 ifindex;  /* FP_AT_PORT, FP_AT_EGRESS: the host end */
  __u32 mtu;      /* FP_AT_PORT, FP_AT_EGRESS: of the host end */
  __u32 seen_sec; /* CLOCK_MONOTONIC; the programs write this and nothing else */
};
FP_SIZE(struct fp_station, 20);

/* Value of fp_peers, by slot. */
struct fp_peer {
  __u8 addr[FP_ADDR_SIZE];
  __u8 source[FP_ADDR_SIZE]; /* that we send from to it */
  __u32 cloud;               /* slot */
  __u32 uplink;              /* interface index; 0: no peer here */
  __u32 mtu;                 /* largest IP packet on the way there */
  __be16 port;               /* it sends from; with addr its identity */
  __be16 fast_port;
};
FP_SIZE(struct fp_peer, 48);

/* Key of fp_local: a fast port at an address of ours. The value is the cloud's slot (__u32). */
struct fp_local {
  __u8 addr[FP_ADDR_SIZE];
  __be16 port;
  __u16 zero;
};
FP_SIZE(struct fp_local, 20);

/* Value of fp_port_counters and fp_peer_counters, by slot, for each CPU. */
struct fp_counters {
  __u64 from_frames;
  __u64 from_bytes;
  __u64 to_frames;
  __u64 to_bytes;
};
FP_SIZE(struct fp_counters, 32);

/* Why a frame was left to the cloud: enum Slow of fastpath.h says what each means. */
enum fp_slow_reason {
  FP_SLOW_GROUP = 0,
  FP_SLOW_UNKNOWN = 1,
  FP_SLOW_MOVED = 2,
  FP_SLOW_KIND = 3,
  FP_SLOW_TOO_BIG = 4,
  FP_SLOW_SLOW_PORT = 5,
  FP_SLOW_SAME_PORT = 6,
  FP_SLOW_ODD = 7,
  FP_SLOW_GUARDED = 8,
  FP_SLOW_REASONS = 9, /* how many */
};

/* Value of fp_slow, by the cloud's slot, for each CPU. */
struct fp_slow {
  __u64 count[FP_SLOW_REASONS];
};
FP_SIZE(struct fp_slow, 72);

#endif /* VXVDE_PLUGIN_FASTPATH_ABI_H_ */
