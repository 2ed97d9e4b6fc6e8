/* The keys and values of the maps that the tc programs (fastpath.bpf.c, C, target bpf) share with the
 * agent (kernel.cc, C++). Both compilers read this file and assert the sizes.
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

/* The version of this file. An agent takes over the maps of an earlier one that has the same. Raised
 * when something changes its meaning, and not when a map is added. */
#define FP_ABI 2

/* Value of fp_node, whose only slot is 0. */
struct fp_node {
  __u32 abi; /* 0: not written yet */
};
FP_SIZE(struct fp_node, 4);

/* Slots in the maps. Clouds, ports, peers and stations beyond them stay in the user datapath. */
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
  __u8 v6;      /* its peers' family */
  __u8 ttl;     /* of IPv4 datagrams */
  __u32 uplink; /* interface index: where its datagrams come in */
};
FP_SIZE(struct fp_cloud, 24);

/* Value of fp_ports, by interface index of the pod's host end, or of one of a cloud's devices: at
 * the frames tap a tag in each frame names its port, and the VXLAN device has the port
 * FP_NO_PORT. */
#define FP_NO_PORT FP_PORTS
struct fp_port {
  __u32 cloud; /* slot */
  __u32 port;  /* slot; the tag of its punted frames */
};
FP_SIZE(struct fp_port, 8);

/* Value of fp_rules, by the port's slot. All zero: no rule. */
#define FP_RULE_EGRESS 1u /* treat FP_AT_PORT as FP_AT_EGRESS */
struct fp_rules {
  __u32 flags;
  __u32 flood_gap;   /* nanoseconds for each frame to a group; 0: no limit */
  __u64 flood_depth; /* nanoseconds in advance */
};
FP_SIZE(struct fp_rules, 16);

/* Value of fp_punts, by the port's slot: its frames that wait at the frames tap. The programs count
 * punted frames in, the agent counts them out when it reads them, so that no port has more than
 * FP_PUNT_ROOM of a kind there, and the queue has room for other ports. */
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

/* skb->mark of a datagram that from_uplink leaves to the kernel's own stack, which decapsulates it
 * for from_tunnel: FP_MARK, 8 bits of the cloud's slot, 16 of the port's, which may be
 * FP_TUNNEL_PROBE. No bit of 0xe000 is ever set, because kube-proxy uses those. */
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
  FP_AT_TAP = 4,       /* a relayed port: the cloud reads and writes its tap */
};

/* Value of fp_stations. Stays until the cloud removes it, when it expires. */
struct fp_station {
  __u32 where;    /* enum fp_where */
  __u32 slot;    /* of the port or peer; FP_AT_SLOW_PORT: none */
  __u32 ifindex;  /* FP_AT_PORT, FP_AT_EGRESS: the host end */
  __u32 mtu;      /* FP_AT_PORT, FP_AT_EGRESS: of the host end */
  __u32 seen_sec; /* CLOCK_MONOTONIC; the only field that the programs write */
};
FP_SIZE(struct fp_station, 20);

/* Value of fp_peers, by slot. */
struct fp_peer {
  __u8 addr[FP_ADDR_SIZE];
  __u8 source[FP_ADDR_SIZE]; /* of datagrams to it */
  __u32 cloud;               /* slot */
  __u32 uplink;              /* interface index; 0: no peer here */
  __u32 mtu;                 /* of the uplink */
  __be16 port;               /* that it sends from; with addr its identity */
  __be16 fast_port;
};
FP_SIZE(struct fp_peer, 48);

/* Key of fp_locals: a fast port at an address of this node. The value is the cloud's slot (__u32). */
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

/* The reason for which a frame was punted: enum Slow of counters.h. */
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
  __u64 not_from_here; /* datagrams that from_tunnel dropped */
};
FP_SIZE(struct fp_slow, 80);

#endif /* VXVDE_PLUGIN_FASTPATH_ABI_H_ */
