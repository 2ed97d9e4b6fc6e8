// The tables of one user of nftables, without a kernel.

#ifndef VXVDE_AGENT_NODE_PORT_TESTING_FAKE_NFT_H_
#define VXVDE_AGENT_NODE_PORT_TESTING_FAKE_NFT_H_

#include <string>
#include <vector>

#include "agent/node_port/nft_keeper.h"
#include "agent/node_port/testing/nft_text.h"

namespace vxvde {

struct FakeNft {
  std::string text;               // of the tables that there are
  std::vector<std::string> runs;  // texts that were written
  absl::Status refuses;           // everything, unless it is OK
  int flushes = 0;                // so many writes are undone by somebody else at once

  static std::string TextOf(const std::vector<NftTable>& tables) {
    std::string out;
    for (const NftTable& table : tables) out += NftText(table);
    return out;
  }
  NftKernel AsKernel() {
    return {.replace =
                [this](const std::vector<NftTable>& tables) {
                  if (!refuses.ok()) return refuses;
                  runs.push_back(TextOf(tables));
                  text = flushes-- > 0 ? "" : runs.back();
                  return absl::OkStatus();
                },
            .read = [this](const std::vector<NftTable>&) -> absl::StatusOr<std::string> {
              if (!refuses.ok()) return refuses;
              return text;
            }};
  }
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_TESTING_FAKE_NFT_H_
