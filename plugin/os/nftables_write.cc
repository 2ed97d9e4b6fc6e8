// Writing: one netlink batch, which the kernel applies as a whole or not at all. For each table it
// contains "create, delete, create" (the first lets the second succeed), then chains, then rules,
// each after the sets that it looks up. Every message has a sequence number, by which an error
// identifies its object. The kernel processes the batch during sendmsg(): when that returns, all
// answers wait in the socket.

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/nftables.h"
#include "plugin/os/nftables_netlink.h"

namespace vxvde {
namespace {

using namespace nft;

// Room for the largest message here: at most kElementsOfMessage elements of up to 104 bytes (16 of
// key, 20 of data, and attributes), and an attribute of at most 64 KiB.
constexpr size_t kMaxMessage = 128 * 1024;
constexpr size_t kElementsOfMessage = 500;

// ---- Fields and values ----

// nft's numbers of data types, by which it prints elements; the kernel only stores them (`enum
// datatypes` in include/datatype.h of nftables). A concatenated type has 6 bits for each part.
enum DataType : uint32_t {
  kTypeNetworkProtocol = 2,
  kTypeInteger = 4,
  kTypeIp4 = 7,
  kTypeIp6 = 8,
  kTypeProtocol = 12,
  kTypePort = 13,
  kTypeState = 26,
  kTypeStatus = 28,
  kTypeGroup = 35,
  kTypeAddressKind = 38,
  kTypeName = 41,
};
constexpr int kTypeBits = 6;

// nft's numbers of byte orders, in the user data of a set.
enum ByteOrder : uint32_t { kConcatenated = 0, kHostOrder = 1, kBigEndian = 2 };

// The way to load a field into a register.
struct Shape {
  enum Kind { kMeta, kConntrack, kFib, kPayload } kind;
  uint32_t key;         // of kMeta and kConntrack, flags of kFib, header of kPayload
  uint32_t offset = 0;  // in that header
  uint32_t size = 4;    // bytes
  DataType type = kTypeInteger;
  ByteOrder order = kHostOrder;
};

Shape ShapeOf(NftField field) {
  constexpr uint32_t kIp = NFT_PAYLOAD_NETWORK_HEADER;
  constexpr uint32_t kTransport = NFT_PAYLOAD_TRANSPORT_HEADER;
  switch (field) {
    case NftField::kInputName:
      return {Shape::kMeta, NFT_META_IIFNAME, 0, IFNAMSIZ, kTypeName};
    case NftField::kOutputName:
      return {Shape::kMeta, NFT_META_OIFNAME, 0, IFNAMSIZ, kTypeName};
    case NftField::kInputKind:
      return {Shape::kMeta, NFT_META_IIFKIND, 0, IFNAMSIZ, kTypeName};
    case NftField::kInputGroup:
      return {Shape::kMeta, NFT_META_IIFGROUP, 0, 4, kTypeGroup};
    case NftField::kOutputGroup:
      return {Shape::kMeta, NFT_META_OIFGROUP, 0, 4, kTypeGroup};
    case NftField::kFamily:
      return {Shape::kMeta, NFT_META_NFPROTO, 0, 1, kTypeNetworkProtocol};
    case NftField::kProtocol:
      return {Shape::kMeta, NFT_META_L4PROTO, 0, 1, kTypeProtocol, kBigEndian};
    case NftField::kSourceV4:
      return {Shape::kPayload, kIp, 12, 4, kTypeIp4, kBigEndian};
    case NftField::kDestinationV4:
      return {Shape::kPayload, kIp, 16, 4, kTypeIp4, kBigEndian};
    case NftField::kSourceV6:
      return {Shape::kPayload, kIp, 8, 16, kTypeIp6, kBigEndian};
    case NftField::kDestinationV6:
      return {Shape::kPayload, kIp, 24, 16, kTypeIp6, kBigEndian};
    case NftField::kSourcePort:
      return {Shape::kPayload, kTransport, 0, 2, kTypePort, kBigEndian};
    case NftField::kDestinationPort:
      return {Shape::kPayload, kTransport, 2, 2, kTypePort, kBigEndian};
    case NftField::kIcmpType:
      return {Shape::kPayload, kTransport, 0, 1, kTypeInteger, kBigEndian};
    case NftField::kConntrackState:
      return {Shape::kConntrack, NFT_CT_STATE, 0, 4, kTypeState};
    case NftField::kConntrackStatus:
      return {Shape::kConntrack, NFT_CT_STATUS, 0, 4, kTypeStatus};
    case NftField::kSourceKind:
      return {Shape::kFib, NFTA_FIB_F_SADDR, 0, 4, kTypeAddressKind};
    case NftField::kDestinationKind:
      return {Shape::kFib, NFTA_FIB_F_DADDR, 0, 4, kTypeAddressKind};
  }
  return {};
}

// The register that begins `word` words of 4 bytes into the data registers. Registers of 16 bytes
// have separate numbers, which the kernel reports.
uint32_t Register(size_t word) {
  return static_cast<uint32_t>(word % 4 == 0 ? NFT_REG_1 + word / 4 : NFT_REG32_00 + word);
}
size_t Words(size_t bytes) { return (bytes + NFT_REG32_SIZE - 1) / NFT_REG32_SIZE; }

void AppendPadded(const NftValue& value, NftValue& to) {
  to.insert(to.end(), value.begin(), value.end());
  to.resize(Words(to.size()) * NFT_REG32_SIZE);
}

// The first value after `prefix`; nullopt: there is none.
std::optional<NftValue> EndOf(const IpPrefix& prefix) {
  NftValue end = NftIp(prefix.Network().address);
  for (size_t bit = prefix.length; bit-- > 0;) {
    const uint8_t one = static_cast<uint8_t>(0x80 >> bit % 8);
    end[bit / 8] = static_cast<uint8_t>(end[bit / 8] ^ one);
    if ((end[bit / 8] & one) != 0) return end;  // no carry
  }
  return std::nullopt;
}

class Batch {
 public:
  Batch() {
    Add([&](char* buffer) { nftnl_batch_begin(buffer, 0); });
    objects_.push_back("the transaction");
  }

  // `object` names the object in error messages.
  void Add(int type, int flags, NftFamily family, std::string object,
           absl::FunctionRef<void(nlmsghdr*)> fill) {
    last_ = data_.size();
    Add([&](char* buffer) {
      fill(nftnl_nlmsg_build_hdr(buffer, static_cast<uint16_t>(type), static_cast<uint16_t>(family),
                                 static_cast<uint16_t>(flags), Sequence()));
    });
    objects_.push_back(std::move(object));
  }

  absl::Status Commit() {
    // If the last object succeeds, all have succeeded.
    reinterpret_cast<nlmsghdr*>(data_.data() + last_)->nlmsg_flags |= NLM_F_ACK;
    const uint32_t last = Sequence() - 1;
    Add([&](char* buffer) { nftnl_batch_end(buffer, Sequence()); });

    ASSIGN_OR_RETURN(const Socket socket, Connect());
    const int size = static_cast<int>(data_.size());
    const int fd = mnl_socket_get_fd(socket.get());
    // A batch is one datagram. Only SO_SNDBUFFORCE, with CAP_NET_ADMIN, may exceed the machine's
    // limit.
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0) {
      (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    if (mnl_socket_sendto(socket.get(), data_.data(), data_.size()) < 0) {
      return ErrnoStatus(errno, absl::StrCat("change nftables: send ", data_.size(), " bytes"));
    }
    bool done = false;
    absl::Status refused;
    RETURN_IF_ERROR(Annotate(Receive(socket.get(), buffer_,
                                     [&](const nlmsghdr* message) {
                                       const std::optional<int> error = ErrorOf(message);
                                       if (error == 0 && message->nlmsg_seq == last) done = true;
                                       if (error.value_or(0) != 0 && refused.ok()) {
                                         refused = Refused(message, *error);
                                       }
                                       return true;
                                     }),
                             "change nftables"));
    if (!refused.ok()) return refused;
    if (!done) return absl::UnavailableError("change nftables: no answer from the kernel");
    return absl::OkStatus();
  }

 private:
  uint32_t Sequence() const { return static_cast<uint32_t>(objects_.size()); }

  void Add(absl::FunctionRef<void(char*)> make) {
    std::fill(buffer_.begin(), buffer_.end(), '\0');
    make(buffer_.data());
    const size_t size = reinterpret_cast<const nlmsghdr*>(buffer_.data())->nlmsg_len;
    data_.insert(data_.end(), buffer_.begin(),
                 buffer_.begin() + static_cast<ptrdiff_t>(MNL_ALIGN(size)));
  }

  absl::Status Refused(const nlmsghdr* message, int error) const {
    const uint32_t sequence = message->nlmsg_seq;
    const std::string& object = objects_[sequence < objects_.size() ? sequence : 0];
    const std::string text = ErrorText(message, error, absl::StrCat("change nftables: ", object));
    // An error of the batch as a whole carries the sequence number of its begin message.
    if (sequence == 0 && error == EPERM) {
      return absl::PermissionDeniedError(
          absl::StrCat(text, "; it takes CAP_NET_ADMIN in the network namespace"));
    }
    if (sequence == 0 && error == EOPNOTSUPP) {
      return absl::UnimplementedError(
          absl::StrCat(text, "; the kernel has no nf_tables (CONFIG_NF_TABLES)"));
    }
    if (error == EPERM) {
      return absl::FailedPreconditionError(
          absl::StrCat(text, "; another program owns the table (`flags owner`): end that program"));
    }
    return absl::InternalError(text);
  }

  std::vector<char> buffer_ = std::vector<char>(kMaxMessage);
  std::vector<char> data_;
  std::vector<std::string> objects_;  // by sequence number
  size_t last_ = 0;                   // offset of the last object's message in data_
};

// A set that a rule looks up, before the kernel names it.
struct SetSpec {
  std::vector<NftField> fields;
  bool intervals = false;
  struct Element {
    NftValue key;
    NftValue data = {};
    bool end = false;  // of an interval: the first value after it
  };
  std::vector<Element> elements;
  // Of a map: nft's type of its values, and their size.
  uint32_t data_type = 0;
  uint32_t data_size = 0;
};

class TableWriter {
 public:
  TableWriter(const NftTable& table, uint32_t* sets, Batch* batch)
      : table_(table), sets_(sets), batch_(batch) {}

  void Write() {
    Put(NFT_MSG_NEWTABLE, NLM_F_CREATE);
    Put(NFT_MSG_DELTABLE, 0);
    if (table_.chains.empty()) return;
    Put(NFT_MSG_NEWTABLE, NLM_F_CREATE);
    for (const NftChain& chain : table_.chains) PutChain(chain);
    for (const NftChain& chain : table_.chains) {
      for (size_t i = 0; i < chain.rules.size(); ++i) {
        object_ = absl::StrCat("rule ", i + 1, " of chain ", table_.ToString(), " ", chain.name);
        PutRule(chain, chain.rules[i]);
      }
    }
  }

 private:
  void Put(int type, int flags) {
    const Table table(Made(nftnl_table_alloc()));
    nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.name.c_str());
    batch_->Add(type, flags, table_.family, absl::StrCat("table ", table_.ToString()),
                [&](nlmsghdr* message) { nftnl_table_nlmsg_build_payload(message, table.get()); });
  }

  void PutChain(const NftChain& spec) {
    const Chain chain(Made(nftnl_chain_alloc()));
    nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table_.name.c_str());
    nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, spec.name.c_str());
    if (spec.hook.has_value()) {
      nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, spec.hook->type.c_str());
      nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM,
                          static_cast<uint32_t>(spec.hook->point));
      nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, spec.hook->priority);
      nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_POLICY, NftVerdict::kAccept);
    }
    batch_->Add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table_.family,
                absl::StrCat("chain ", table_.ToString(), " ", spec.name),
                [&](nlmsghdr* message) { nftnl_chain_nlmsg_build_payload(message, chain.get()); });
  }

  void PutRule(const NftChain& chain, const NftRule& spec) {
    const Rule rule(Made(nftnl_rule_alloc()));
    nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, table_.name.c_str());
    nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, chain.name.c_str());
    rule_ = rule.get();
    for (const NftRule::Statement& statement : spec.statements) {
      std::visit([&](const auto& one) { Append(one); }, statement);
    }
    batch_->Add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table_.family, object_,
                [&](nlmsghdr* message) { nftnl_rule_nlmsg_build_payload(message, rule.get()); });
  }

  // Adds an expression to the current rule, which owns it.
  nftnl_expr* New(const char* name) {
    nftnl_expr* expression = Made(nftnl_expr_alloc(name));
    nftnl_rule_add_expr(rule_, expression);
    return expression;
  }
  static void SetData(nftnl_expr* expression, uint16_t attribute, const NftValue& value) {
    if (nftnl_expr_set(expression, attribute, value.data(), static_cast<uint32_t>(value.size())) !=
        0) {
      throw std::bad_alloc();
    }
  }
  static void SetText(nftnl_expr* expression, uint16_t attribute, const std::string& text) {
    if (nftnl_expr_set_str(expression, attribute, text.c_str()) != 0) throw std::bad_alloc();
  }

  void Load(NftField field, uint32_t to) {
    const Shape shape = ShapeOf(field);
    switch (shape.kind) {
      case Shape::kMeta: {
        nftnl_expr* meta = New("meta");
        nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, shape.key);
        nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, to);
        break;
      }
      case Shape::kConntrack: {
        nftnl_expr* ct = New("ct");
        nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_KEY, shape.key);
        nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_DREG, to);
        break;
      }
      case Shape::kFib: {
        nftnl_expr* fib = New("fib");
        nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
        nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_FLAGS, shape.key);
        nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_DREG, to);
        break;
      }
      case Shape::kPayload: {
        nftnl_expr* payload = New("payload");
        nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, shape.key);
        nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, shape.offset);
        nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, shape.size);
        nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, to);
        break;
      }
    }
  }
  void Compare(uint32_t operation, const NftValue& value) {
    nftnl_expr* compare = New("cmp");
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_OP, operation);
    SetData(compare, NFTNL_EXPR_CMP_DATA, value);
  }

  void Append(const NftCompare& one) {
    Load(one.field, NFT_REG_1);
    Compare(one.equal ? NFT_CMP_EQ : NFT_CMP_NEQ, one.value);
  }
  void Append(const NftMasked& one) {
    Load(one.field, NFT_REG_1);
    nftnl_expr* bitwise = New("bitwise");
    nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_LEN, static_cast<uint32_t>(one.mask.size()));
    SetData(bitwise, NFTNL_EXPR_BITWISE_MASK, one.mask);
    SetData(bitwise, NFTNL_EXPR_BITWISE_XOR, NftValue(one.mask.size()));
    Compare(one.equal ? NFT_CMP_EQ : NFT_CMP_NEQ, one.value);
  }
  void Append(const NftRange& one) {
    Load(one.field, NFT_REG_1);
    Compare(NFT_CMP_GTE, one.first);
    Compare(NFT_CMP_LTE, one.last);
  }
  void Append(const NftLookup& one) {
    SetSpec set{.fields = one.fields, .elements = {}};
    for (const std::vector<NftValue>& values : one.elements) {
      SetSpec::Element element;
      for (const NftValue& value : values) {
        if (values.size() == 1) element.key = value;
        if (values.size() > 1) AppendPadded(value, element.key);
      }
      set.elements.push_back(std::move(element));
    }
    AppendLookup(set, /*inside=*/one.inside);
  }
  void Append(const NftWithin& one) {
    SetSpec set{.fields = {one.field}, .intervals = true, .elements = {}};
    std::vector<IpPrefix> prefixes = one.prefixes;
    std::sort(prefixes.begin(), prefixes.end());
    std::optional<NftValue> end = NftValue(ShapeOf(one.field).size);
    bool begun = false;
    for (const IpPrefix& prefix : prefixes) {
      NftValue first = NftIp(prefix.Network().address);
      // Joins adjacent prefixes. As in nft, an end also marks the values below the first interval.
      if (!(begun && end == first)) {
        if (end.has_value() && end != first) set.elements.push_back({.key = *end, .end = true});
        set.elements.push_back({.key = std::move(first)});
      }
      begun = true;
      end = EndOf(prefix);
    }
    if (end.has_value()) set.elements.push_back({.key = *std::move(end), .end = true});
    AppendLookup(set, /*inside=*/true);
  }
  void Append(const NftDnat& one) {
    const bool v6 = one.family == AF_INET6;
    const size_t address_size = v6 ? 16 : 4;
    SetSpec map{.fields = {NftField::kDestinationPort},
                .elements = {},
                .data_type = (v6 ? kTypeIp6 : kTypeIp4) << kTypeBits | kTypePort,
                .data_size = static_cast<uint32_t>(address_size + NFT_REG32_SIZE)};
    for (const auto& [port, target] : one.targets) {
      SetSpec::Element element{.key = NftPort(port)};
      AppendPadded(NftIp(target.first), element.data);
      AppendPadded(NftPort(target.second), element.data);
      map.elements.push_back(std::move(element));
    }
    AppendLookup(map, /*inside=*/true);
    nftnl_expr* nat = New("nat");
    nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
    nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_FAMILY, static_cast<uint32_t>(one.family));
    nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1);
    nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_REG_PROTO_MIN, Register(Words(address_size)));
  }
  void Append(const NftCounter&) { New("counter"); }
  void Append(const NftMasquerade&) { New("masq"); }
  void Append(const NftVerdict& one) {
    nftnl_expr* verdict = New("immediate");
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    if (!one.chain.empty()) SetText(verdict, NFTNL_EXPR_IMM_CHAIN, one.chain);
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_VERDICT, static_cast<uint32_t>(one.code));
  }
  void AppendLookup(const SetSpec& spec, bool inside) {
    const std::string name = spec.data_size == 0 ? "__set%d" : "__map%d";
    const uint32_t id = PutSet(spec, name);
    size_t word = 0;
    for (const NftField field : spec.fields) {
      Load(field, Register(word));
      word += Words(ShapeOf(field).size);
    }
    nftnl_expr* lookup = New("lookup");
    nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    SetText(lookup, NFTNL_EXPR_LOOKUP_SET, name);
    nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SET_ID, id);
    if (spec.data_size != 0) nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_1);
    if (!inside) nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  }

  Set NewSet(const std::string& name, uint32_t id) const {
    Set set(Made(nftnl_set_alloc()));
    nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, table_.name.c_str());
    nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
    nftnl_set_set_u32(set.get(), NFTNL_SET_ID, id);
    return set;
  }

  // Returns the number by which rules of this transaction refer to the set.
  uint32_t PutSet(const SetSpec& spec, const std::string& name) {
    const uint32_t id = ++*sets_;
    const bool concatenated = spec.fields.size() > 1;
    uint32_t type = 0;
    size_t size = 0;
    for (const NftField field : spec.fields) {
      const Shape shape = ShapeOf(field);
      type = type << kTypeBits | shape.type;
      size += concatenated ? Words(shape.size) * NFT_REG32_SIZE : shape.size;
    }
    uint32_t flags = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT;
    if (spec.intervals) flags |= NFT_SET_INTERVAL;
    const Set set = NewSet(name, id);
    nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_TYPE, type);
    nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_LEN, static_cast<uint32_t>(size));
    nftnl_set_set_u32(set.get(), NFTNL_SET_DESC_SIZE, static_cast<uint32_t>(spec.elements.size()));
    const std::unique_ptr<nftnl_udata_buf, decltype(&nftnl_udata_buf_free)> user_data(
        Made(nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN)), &nftnl_udata_buf_free);
    nftnl_udata_put_u32(user_data.get(), NFTNL_UDATA_SET_KEYBYTEORDER,
                        concatenated ? kConcatenated : ShapeOf(spec.fields[0]).order);
    if (spec.data_size != 0) {
      flags |= NFT_SET_MAP;
      nftnl_set_set_u32(set.get(), NFTNL_SET_DATA_TYPE, spec.data_type);
      nftnl_set_set_u32(set.get(), NFTNL_SET_DATA_LEN, spec.data_size);
      nftnl_udata_put_u32(user_data.get(), NFTNL_UDATA_SET_DATABYTEORDER, kConcatenated);
    }
    nftnl_set_set_u32(set.get(), NFTNL_SET_FLAGS, flags);
    nftnl_set_set_data(set.get(), NFTNL_SET_USERDATA, nftnl_udata_buf_data(user_data.get()),
                       nftnl_udata_buf_len(user_data.get()));
    const std::string object = absl::StrCat("set of ", object_);
    batch_->Add(NFT_MSG_NEWSET, NLM_F_CREATE, table_.family, object,
                [&](nlmsghdr* message) { nftnl_set_nlmsg_build_payload(message, set.get()); });
    for (size_t begin = 0; begin < spec.elements.size(); begin += kElementsOfMessage) {
      const Set part = NewSet(name, id);
      const size_t end = std::min(spec.elements.size(), begin + kElementsOfMessage);
      for (size_t i = begin; i < end; ++i) AddElement(spec.elements[i], part.get());
      batch_->Add(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table_.family, object, [&](nlmsghdr* message) {
        nftnl_set_elems_nlmsg_build_payload(message, part.get());
      });
    }
    return id;
  }
  static void AddElement(const SetSpec::Element& spec, nftnl_set* set) {
    nftnl_set_elem* element = Made(nftnl_set_elem_alloc());
    nftnl_set_elem_add(set, element);
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, spec.key.data(),
                       static_cast<uint32_t>(spec.key.size()));
    if (!spec.data.empty()) {
      nftnl_set_elem_set(element, NFTNL_SET_ELEM_DATA, spec.data.data(),
                         static_cast<uint32_t>(spec.data.size()));
    }
    if (spec.end) {
      nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    }
  }

  const NftTable& table_;
  uint32_t* const sets_;  // the number of sets so far
  Batch* const batch_;
  std::string object_;  // the current rule, for error messages
  nftnl_rule* rule_ = nullptr;
};

}  // namespace

absl::Status ReplaceNftTables(const std::vector<NftTable>& tables) {
  Batch batch;
  uint32_t sets = 0;
  for (const NftTable& table : tables) TableWriter(table, &sets, &batch).Write();
  return batch.Commit();
}

}  // namespace vxvde
