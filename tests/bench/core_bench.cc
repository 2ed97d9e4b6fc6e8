// What one frame costs in the pure rooms of the switch: bazel run -c opt //tests/bench:core_bench

#include <chrono>
#include <vector>

#include "benchmark/benchmark.h"
#include "plugin/cloud/forward.h"
#include "plugin/fdb/fdb.h"
#include "plugin/offload/coalesce.h"
#include "plugin/offload/segment.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/wire/checksum.h"

namespace vxvde {
namespace {

using packets::Bytes;

constexpr Instant kNow{std::chrono::hours(1)};
constexpr uint16_t kSegmentSize = 1448;

MacAddress Mac(int64_t n) {
  return MacAddress({0x02, 0, static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
                     static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
}

Peer PeerOf(int64_t n) { return {IpAddress::V4(192, 0, 2, static_cast<uint8_t>(n % 100)), 14790}; }

Fdb Stations(int64_t count) {
  Fdb fdb({.expiry = std::chrono::seconds(128)});
  for (int64_t n = 0; n < count; ++n) fdb.Learn(Mac(n), PeerOf(n), kNow);
  return fdb;
}

// A step that visits all stations, in no order that a cache would like.
int64_t Step(int64_t n, int64_t count) { return (n + 7919) % count; }

void FdbRefresh(benchmark::State& state) {
  Fdb fdb = Stations(state.range(0));
  int64_t n = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(fdb.Learn(Mac(n), PeerOf(n), kNow));
    n = Step(n, state.range(0));
  }
}
BENCHMARK(FdbRefresh)->Arg(1000)->Arg(200'000);

void FdbFind(benchmark::State& state) {
  const Fdb fdb = Stations(state.range(0));
  int64_t n = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(fdb.Find(Mac(n), kNow));
    n = Step(n, state.range(0));
  }
}
BENCHMARK(FdbFind)->Arg(1000)->Arg(200'000);

void ForwardFrame(benchmark::State& state) {
  const Fdb fdb = Stations(state.range(0));
  const Location from = PortId{1};
  int64_t n = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(Forward(Mac(n), Mac(n + 1), from, fdb, kNow));
    n = Step(n, state.range(0));
  }
}
BENCHMARK(ForwardFrame)->Arg(1000)->Arg(200'000);

packets::Spec SuperFrame() {
  packets::Spec spec;
  spec.options = packets::TimestampOption();
  spec.payload = packets::Payload(65535 - 52);
  return spec;
}

void SplitSuperFrame(benchmark::State& state) {
  Offload offload;
  Bytes bytes = packets::BuildSuper(SuperFrame(), kSegmentSize, offload);
  Segmenter segmenter(Bytes(8));
  std::vector<Segment> segments;
  for (auto _ : state) {
    Frame frame{bytes, offload};
    benchmark::DoNotOptimize(segmenter.Split(frame, segments));
    segments.clear();
    segmenter.Clear();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes.size()));
}
BENCHMARK(SplitSuperFrame);

void CoalesceSegments(benchmark::State& state) {
  packets::Spec spec = SuperFrame();
  spec.payload.resize(45 * kSegmentSize);
  const std::vector<Bytes> frames = packets::Segments(spec, kSegmentSize);
  Coalescer coalescer;
  const auto sink = [](const OutFrame& frame) { benchmark::DoNotOptimize(frame.size); };
  for (auto _ : state) {
    for (const Bytes& frame : frames) coalescer.Add(frame, sink);
    coalescer.Flush(sink);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(spec.payload.size()));
}
BENCHMARK(CoalesceSegments);

void Checksum(benchmark::State& state) {
  const Bytes bytes = packets::Payload(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(ChecksumAdd(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Checksum)->Arg(kSegmentSize)->Arg(65536);

}  // namespace
}  // namespace vxvde
