// The cost of one frame in the pure rooms of the switch: bazel run -c opt //tests/bench:core_bench

#include <algorithm>
#include <chrono>
#include <optional>
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

std::optional<Instant> Nobody(const MacAddress&, const Location&) { return std::nullopt; }

// A member with `state.range(1)` of `state.range(0)` stations leaves: the time of the call, and of
// the removal of as many stations as one turn of the loop removes (StationSweep::kWorkPerTurn).
constexpr size_t kPerTurn = 16'384;

Fdb StationsOfLeaver(int64_t count, int64_t leaving) {
  Fdb fdb = Stations(count - leaving);
  const Peer leaver{IpAddress::V4(192, 0, 2, 200), 14790};
  for (int64_t n = count - leaving; n < count; ++n) fdb.Learn(Mac(n), leaver, kNow);
  return fdb;
}

void FdbLeaveOneTurn(benchmark::State& state) {
  Fdb fdb = StationsOfLeaver(state.range(0), state.range(1));
  const Peer leaver{IpAddress::V4(192, 0, 2, 200), 14790};
  for (auto _ : state) {
    fdb.ForgetPeer(leaver);
    benchmark::DoNotOptimize(fdb.Sweep(kNow, kPerTurn, Nobody));
    state.PauseTiming();
    while (fdb.Sweep(kNow, kPerTurn, Nobody).more) continue;
    for (int64_t n = state.range(0) - state.range(1); n < state.range(0); ++n) {
      fdb.Learn(Mac(n), leaver, kNow);
    }
    state.ResumeTiming();
  }
}
BENCHMARK(FdbLeaveOneTurn)->Args({200'000, 10'000});

void FdbLeaveAll(benchmark::State& state) {
  Fdb fdb = StationsOfLeaver(state.range(0), state.range(1));
  const Peer leaver{IpAddress::V4(192, 0, 2, 200), 14790};
  for (auto _ : state) {
    fdb.ForgetPeer(leaver);
    while (fdb.Sweep(kNow, kPerTurn, Nobody).more) continue;
    state.PauseTiming();
    for (int64_t n = state.range(0) - state.range(1); n < state.range(0); ++n) {
      fdb.Learn(Mac(n), leaver, kNow);
    }
    state.ResumeTiming();
  }
}
BENCHMARK(FdbLeaveAll)->Args({200'000, 10'000});

// The cost of each second in which no station expires: one turn of it, and all turns.
void FdbSweepOneTurn(benchmark::State& state) {
  Fdb fdb = Stations(state.range(0));
  for (auto _ : state) {
    fdb.StartSweep();
    benchmark::DoNotOptimize(fdb.Sweep(kNow, kPerTurn, Nobody));
  }
}
BENCHMARK(FdbSweepOneTurn)->Arg(200'000);

void FdbSweepAll(benchmark::State& state) {
  Fdb fdb = Stations(state.range(0));
  for (auto _ : state) {
    fdb.StartSweep();
    while (fdb.Sweep(kNow, kPerTurn, Nobody).more) continue;
  }
}
BENCHMARK(FdbSweepAll)->Arg(1000)->Arg(200'000);

void FdbRows(benchmark::State& state) {
  const Fdb fdb = Stations(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(fdb.Rows(kNow));
}
BENCHMARK(FdbRows)->Arg(1000)->Arg(200'000);

// The slowest call of Learn while the table fills: the hash table occasionally grows.
void FdbFillWorstLearn(benchmark::State& state) {
  double worst = 0;
  for (auto _ : state) {
    Fdb fdb({.expiry = std::chrono::seconds(128)});
    for (int64_t n = 0; n < state.range(0); ++n) {
      const auto start = std::chrono::steady_clock::now();
      fdb.Learn(Mac(n), PeerOf(n), kNow);
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - start;
      worst = std::max(worst, took.count());
    }
  }
  state.counters["worst_ms"] = worst;
}
BENCHMARK(FdbFillWorstLearn)->Arg(200'000)->Unit(benchmark::kMillisecond);

// A step that visits all stations, in an order that no cache can predict.
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
