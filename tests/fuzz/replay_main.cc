// Runs LLVMFuzzerTestOneInput over each file named on the command line, and
// over every prefix of it: what is truncated must be as harmless as what is whole.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "no corpus files given\n");
    return 1;
  }
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
    const size_t step = bytes.size() / 512 + 1;
    for (size_t n = 0; n < bytes.size(); n += step) {
      // A buffer of its own size, so that a read past the end is seen by asan.
      const std::vector<uint8_t> prefix(bytes.begin(), bytes.begin() + n);
      LLVMFuzzerTestOneInput(prefix.data(), prefix.size());
    }
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%d corpus files\n", argc - 1);
  return 0;
}
