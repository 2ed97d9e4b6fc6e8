// Reading: requests a table, its chains, rules, sets and elements one after the other. If the
// generation of the rule set changes meanwhile, the parts may not fit together, and all are read
// again. The kernel lists chains only by family: of chains in other tables, the table's name is
// read and nothing else.

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "plugin/base/status.h"
#include "plugin/os/nftables.h"
#include "plugin/os/nftables_netlink.h"

namespace vxvde {
namespace {

using namespace nft;

constexpr int kMaxReads = 10;

using Generation = Owned<nftnl_gen, nftnl_gen_free>;

// Returns the text that `print` writes, by the convention of snprintf.
template <typename Print>
std::string Text(Print print) {
  std::string text(256, '\0');
  while (true) {
    const int size = print(text.data(), text.size());
    if (size < 0) return "unreadable";
    if (static_cast<size_t>(size) < text.size()) {
      text.resize(static_cast<size_t>(size));
      return text;
    }
    text.resize(static_cast<size_t>(size) + 1);
  }
}

class TableReader {
 public:
  TableReader(mnl_socket* socket, const NftTable& table) : socket_(socket), table_(table) {}

  // Aborted: something changed meanwhile.
  absl::StatusOr<std::string> Read() {
    const Table table(Made(nftnl_table_alloc()));
    nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.name.c_str());
    std::string text;
    const absl::Status found = Ask(
        NFT_MSG_GETTABLE, NLM_F_ACK,
        [&](nlmsghdr* query) { nftnl_table_nlmsg_build_payload(query, table.get()); },
        [&](const nlmsghdr* answer) {
          if (nftnl_table_nlmsg_parse(answer, table.get()) < 0) return;
          // The number of its chains, sets and all other objects.
          text = absl::StrCat("table ", table_.ToString(), " flags ",
                              nftnl_table_get_u32(table.get(), NFTNL_TABLE_FLAGS), " use ",
                              nftnl_table_get_u32(table.get(), NFTNL_TABLE_USE), "\n");
        });
    if (absl::IsNotFound(found)) return std::string();
    RETURN_IF_ERROR(found);
    RETURN_IF_ERROR(ReadChains(text));
    RETURN_IF_ERROR(ReadSets(text));
    RETURN_IF_ERROR(ReadRules(text));
    return text;
  }

  absl::StatusOr<uint32_t> ReadGeneration() {
    std::optional<uint32_t> generation;
    RETURN_IF_ERROR(Ask(
        NFT_MSG_GETGEN, NLM_F_ACK, [](nlmsghdr*) {},
        [&](const nlmsghdr* answer) {
          const Generation gen(Made(nftnl_gen_alloc()));
          if (nftnl_gen_nlmsg_parse(answer, gen.get()) < 0) return;
          generation = nftnl_gen_get_u32(gen.get(), NFTNL_GEN_ID);
        }));
    if (!generation.has_value()) return absl::UnavailableError("no generation");
    return *generation;
  }

 private:
  // `flags`: NLM_F_DUMP for a list, or NLM_F_ACK for one object.
  absl::Status Ask(int type, int flags, absl::FunctionRef<void(nlmsghdr*)> fill,
                   absl::FunctionRef<void(const nlmsghdr*)> on_object) {
    std::vector<char> query(kMaxAnswer);
    nlmsghdr* header = nftnl_nlmsg_build_hdr(query.data(), static_cast<uint16_t>(type),
                                             static_cast<uint16_t>(table_.family),
                                             static_cast<uint16_t>(flags), 1);
    fill(header);
    if (mnl_socket_sendto(socket_, header, header->nlmsg_len) < 0) {
      return ErrnoStatus(errno, "read nftables");
    }
    bool done = false;
    absl::Status status;
    RETURN_IF_ERROR(
        Annotate(Receive(socket_, buffer_,
                         [&](const nlmsghdr* message) {
                           if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
                             status.Update(absl::AbortedError("nftables change all the time"));
                           }
                           const std::optional<int> error = ErrorOf(message);
                           if (error.value_or(0) != 0) status.Update(Failed(message, *error));
                           done = error.has_value() || message->nlmsg_type == NLMSG_DONE;
                           if (!done && message->nlmsg_type >= NLMSG_MIN_TYPE) on_object(message);
                           return !done;
                         }),
                 "read nftables"));
    if (!done) status.Update(absl::UnavailableError("read nftables: no answer from the kernel"));
    return status;
  }
  absl::Status Failed(const nlmsghdr* message, int error) const {
    const std::string text =
        ErrorText(message, error, absl::StrCat("read table ", table_.ToString()));
    if (error == ENOENT) return absl::NotFoundError(text);
    if (error == EPERM) {
      return absl::PermissionDeniedError(
          absl::StrCat(text, "; it takes CAP_NET_ADMIN in the network namespace"));
    }
    return absl::UnavailableError(text);
  }

  static std::string TableOf(const nlmsghdr* chain) {
    std::string name;
    mnl_attr_parse(
        chain, sizeof(nfgenmsg),
        [](const nlattr* attribute, void* found) {
          if (mnl_attr_get_type(attribute) == NFTA_CHAIN_TABLE &&
              mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0) {
            *static_cast<std::string*>(found) = mnl_attr_get_str(attribute);
          }
          return MNL_CB_OK;
        },
        &name);
    return name;
  }
  absl::Status ReadChains(std::string& text) {
    return Ask(
        NFT_MSG_GETCHAIN, NLM_F_DUMP, [](nlmsghdr*) {},
        [&](const nlmsghdr* answer) {
          if (TableOf(answer) != table_.name) return;
          const Chain chain(Made(nftnl_chain_alloc()));
          if (nftnl_chain_nlmsg_parse(answer, chain.get()) < 0) {
            text += "chain unreadable\n";
            return;
          }
          absl::StrAppend(&text, "chain ", nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_NAME));
          if (nftnl_chain_is_set(chain.get(), NFTNL_CHAIN_HOOKNUM)) {
            absl::StrAppend(&text, " type ", nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TYPE),
                            " hook ", nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_HOOKNUM),
                            " priority ", nftnl_chain_get_s32(chain.get(), NFTNL_CHAIN_PRIO),
                            " policy ", nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_POLICY));
          }
          text += "\n";
        });
  }

  absl::Status ReadSets(std::string& text) {
    std::vector<Set> sets;
    const Set filter(Made(nftnl_set_alloc()));
    nftnl_set_set_str(filter.get(), NFTNL_SET_TABLE, table_.name.c_str());
    RETURN_IF_ERROR(Ask(
        NFT_MSG_GETSET, NLM_F_DUMP,
        [&](nlmsghdr* query) { nftnl_set_nlmsg_build_payload(query, filter.get()); },
        [&](const nlmsghdr* answer) {
          Set set(Made(nftnl_set_alloc()));
          if (nftnl_set_nlmsg_parse(answer, set.get()) >= 0) sets.push_back(std::move(set));
        }));
    for (const Set& set : sets) {
      const std::string name = nftnl_set_get_str(set.get(), NFTNL_SET_NAME);
      const Set one(Made(nftnl_set_alloc()));
      nftnl_set_set_str(one.get(), NFTNL_SET_TABLE, table_.name.c_str());
      nftnl_set_set_str(one.get(), NFTNL_SET_NAME, name.c_str());
      RETURN_IF_ERROR(Ask(
          NFT_MSG_GETSETELEM, NLM_F_DUMP,
          [&](nlmsghdr* query) { nftnl_set_nlmsg_build_payload(query, one.get()); },
          [&](const nlmsghdr* answer) { nftnl_set_elems_nlmsg_parse(answer, set.get()); }));
      std::vector<std::string> elements;  // sorted: the kernel's order is random
      nftnl_set_elem_foreach(
          set.get(),
          [](nftnl_set_elem* element, void* list) {
            static_cast<std::vector<std::string>*>(list)->push_back(
                Text([&](char* buffer, size_t size) {
                  return nftnl_set_elem_snprintf(buffer, size, element, NFTNL_OUTPUT_DEFAULT, 0);
                }));
            return 0;
          },
          &elements);
      std::sort(elements.begin(), elements.end());
      std::string& content = sets_[name];
      content = absl::StrCat("{", absl::StrJoin(elements, ","), "}");
      const uint32_t flags = nftnl_set_get_u32(set.get(), NFTNL_SET_FLAGS);
      // An anonymous set is printed with the rule that has it.
      if ((flags & NFT_SET_ANONYMOUS) == 0) {
        absl::StrAppend(&text, "set ", name, " flags ", flags, " ", content, "\n");
      }
    }
    return absl::OkStatus();
  }

  std::string TextOf(nftnl_expr* expression) const {
    const std::string name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);
    std::string number, set;
    if (name == "counter") {
      nftnl_expr_set_u64(expression, NFTNL_EXPR_CTR_PACKETS, 0);
      nftnl_expr_set_u64(expression, NFTNL_EXPR_CTR_BYTES, 0);
    } else if (name == "lookup") {
      const char* of = nftnl_expr_get_str(expression, NFTNL_EXPR_LOOKUP_SET);
      number = of == nullptr ? "" : of;
      const auto found = sets_.find(number);
      if (found != sets_.end()) set = found->second;
    }
    std::string text = Text([&](char* buffer, size_t size) {
      return nftnl_expr_snprintf(buffer, size, expression, NFTNL_OUTPUT_DEFAULT, 0);
    });
    // In the text alone: libnftnl 1.2.4 leaks the name of a set that is replaced.
    if (const size_t at = number.empty() ? text.npos : text.find(number); at != text.npos) {
      text.erase(at, number.size());
    }
    return absl::StrCat("  ", name, " ", text, set, "\n");
  }
  absl::Status ReadRules(std::string& text) {
    const Rule filter(Made(nftnl_rule_alloc()));
    nftnl_rule_set_str(filter.get(), NFTNL_RULE_TABLE, table_.name.c_str());
    return Ask(
        NFT_MSG_GETRULE, NLM_F_DUMP,
        [&](nlmsghdr* query) { nftnl_rule_nlmsg_build_payload(query, filter.get()); },
        [&](const nlmsghdr* answer) {
          const Rule rule(Made(nftnl_rule_alloc()));
          if (nftnl_rule_nlmsg_parse(answer, rule.get()) < 0) {
            text += "rule unreadable\n";
            return;
          }
          absl::StrAppend(&text, "rule ", nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN), "\n");
          std::pair<const TableReader*, std::string*> here(this, &text);
          nftnl_expr_foreach(
              rule.get(),
              [](nftnl_expr* expression, void* argument) {
                const auto* to = static_cast<decltype(here)*>(argument);
                *to->second += to->first->TextOf(expression);
                return 0;
              },
              &here);
        });
  }

  mnl_socket* const socket_;
  const NftTable& table_;
  std::vector<char> buffer_ = std::vector<char>(kMaxAnswer);
  std::map<std::string, std::string> sets_;  // contents, by name
};

}  // namespace

absl::StatusOr<std::string> ReadNftTables(const std::vector<NftTable>& tables) {
  ASSIGN_OR_RETURN(const Socket socket, Connect());
  for (int i = 0; i < kMaxReads; ++i) {
    TableReader first(socket.get(), tables.front());
    ASSIGN_OR_RETURN(const uint32_t generation, first.ReadGeneration());
    std::string text;
    bool whole = true;
    for (const NftTable& table : tables) {
      const absl::StatusOr<std::string> one = TableReader(socket.get(), table).Read();
      // An object that disappears in between is a change, too.
      whole = one.ok();
      if (absl::IsAborted(one.status()) || absl::IsNotFound(one.status())) break;
      RETURN_IF_ERROR(one.status());
      text += *one;
    }
    ASSIGN_OR_RETURN(const uint32_t now, first.ReadGeneration());
    if (whole && now == generation) return text;
  }
  return absl::UnavailableError(
      "read nftables: other programs change them all the time; stop one that does");
}

}  // namespace vxvde
