// Runs LLVMFuzzerTestOneInput over each named file, or each file of a named folder, and over every
// prefix of it: a truncated input must be as harmless as a whole one.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool Replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t step = bytes.size() / 512 + 1;
  for (size_t n = 0; n < bytes.size(); n += step) {
    // A buffer of the exact size, so that the address sanitizer detects a read beyond the end.
    const std::vector<uint8_t> prefix(bytes.begin(), bytes.begin() + n);
    LLVMFuzzerTestOneInput(prefix.data(), prefix.size());
  }
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  size_t replayed = 0;
  for (int i = 1; i < argc; ++i) {
    std::vector<std::filesystem::path> paths{argv[i]};
    if (std::filesystem::is_directory(argv[i])) {
      paths.assign(std::filesystem::directory_iterator(argv[i]), {});
    }
    for (const std::filesystem::path& path : paths) {
      if (!Replay(path)) return 1;
      ++replayed;
    }
  }
  if (replayed == 0) {
    std::fprintf(stderr, "no corpus files given\n");
    return 1;
  }
  std::printf("%zu corpus files\n", replayed);
  return 0;
}
