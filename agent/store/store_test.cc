#include "agent/store/store.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/api/attachment_id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

AttachmentRecord Sample(const std::string& container = "c1") {
  AttachmentRecord record;
  record.network = "blue";
  record.container_id = container;
  record.ifname = "eth0";
  record.main_ifname = "eth0";
  record.id = AttachmentId(record.network, record.container_id, record.ifname);
  record.pod_namespace = "shop";
  record.pod_name = "web-0";
  record.pod_uid = "uid-1";
  record.netns = "/run/netns/web";
  record.host_ifname = HostIfName(record.id);
  record.mac = *MacAddress::Parse("02:00:5e:10:00:01");
  record.mtu = 1450;
  record.addresses = {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("2001:db8::7/64")};
  record.vnl = "vxvde://239.1.2.3/vni=42";
  return record;
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = testing::TempDir() + "/store.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
  }
  ~StoreTest() override { std::filesystem::remove_all(run_dir_); }

  std::string run_dir_;
};

TEST_F(StoreTest, WhatIsSavedIsLoadedAndWhatIsRemovedIsGone) {
  absl::StatusOr<Store> store = Store::Open(run_dir_);
  ASSERT_TRUE(store.ok()) << store.status();
  AttachmentRecord tap = Sample("c2");
  tap.tap = true;
  tap.main_ifname = "eth9";
  tap.host_ifname = "";
  tap.addresses.clear();
  tap.caller = "netavark";
  tap.allow = {*Allowed::Parse("00:00:5e:00:01:00/40"), *Allowed::Parse("10.42.0.200"),
               *Allowed::Parse("router")};
  tap.node_port = true;
  tap.unicast_port = 14790;
  tap.netns_id = "4:4026532210";
  tap.port_mappings = {{8080, 80, "tcp", std::nullopt},
                       {53, 5353, "udp", IpAddress::V4(192, 0, 2, 1)},
                       {54, 54, "udp", IpAddress()},
                       {54, 54, "udp", IpAddress::AnyV6()}};
  ASSERT_TRUE(store->Save(Sample()).ok());
  ASSERT_TRUE(store->Save(tap).ok());
  const CloudKey key{IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(42)};
  const CloudKey key6{*IpAddress::Parse("ff05::1"), 1, *Vni::Make(Vni::kMax)};
  ASSERT_TRUE(store->SavePorts({{key, 14790}, {key6, 65535}}).ok());

  absl::StatusOr<Store::Contents> contents = Store::Open(run_dir_)->Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->records, testing::UnorderedElementsAre(Sample(), tap));
  EXPECT_EQ(contents->ports, (UnicastPorts{{key, 14790}, {key6, 65535}}));
  EXPECT_THAT(contents->problems, IsEmpty());

  ASSERT_TRUE(store->Remove(tap.id).ok());
  ASSERT_TRUE(store->Remove(tap.id).ok()) << "twice is fine";
  EXPECT_THAT(store->Load()->records, ElementsAre(Sample()));
}

TEST_F(StoreTest, AnAgentOfBeforeReadsAFamilyAsAllAddresses) {
  AttachmentRecord record = Sample();
  record.port_mappings = {{8080, 80, "tcp", IpAddress::AnyV6()}};
  const std::string text = FormatRecord(record);
  EXPECT_THAT(text, testing::HasSubstr("\"host_ip\": \"\""));
  EXPECT_THAT(text, testing::HasSubstr("\"host_family\": \"ipv6\""));
  EXPECT_EQ(*ParseRecord(text), record);
}

TEST_F(StoreTest, ATornFileIsSetAsideAndTheOthersAreLoaded) {
  Store store = *Store::Open(run_dir_);
  ASSERT_TRUE(store.Save(Sample()).ok());
  const std::string folder = run_dir_ + "/attachments/";
  const std::string whole = FormatRecord(Sample("c2"));
  std::ofstream(folder + AttachmentId("blue", "c2", "eth0") + ".json")
      << whole.substr(0, whole.size() / 2);
  std::ofstream(folder + "wrongname.json") << whole;
  std::ofstream(folder + "half.json.new") << "{";  // an interrupted write: not a record
  std::ofstream(run_dir_ + "/clouds.json") << "[]";

  const absl::StatusOr<Store::Contents> contents = store.Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->records, ElementsAre(Sample()));
  EXPECT_THAT(contents->problems, SizeIs(3));
  EXPECT_TRUE(std::filesystem::exists(folder + "wrongname.json.bad"));
  EXPECT_TRUE(std::filesystem::exists(run_dir_ + "/clouds.json.bad"));
  EXPECT_THAT(store.Load()->problems, IsEmpty()) << "told once";
}

TEST_F(StoreTest, WhatAKilledAgentWroteHalfIsRemoved) {
  ASSERT_TRUE(Store::Open(run_dir_)->Save(Sample()).ok());
  const std::vector<std::string> half = {run_dir_ + "/clouds.json.new",
                                         run_dir_ + "/attachments/half.json.new",
                                         run_dir_ + "/leases/half.json.new"};
  for (const std::string& path : half) std::ofstream(path) << "{";
  Store store = *Store::Open(run_dir_);
  for (const std::string& path : half) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  EXPECT_THAT(store.Load()->records, ElementsAre(Sample()));
}

TEST_F(StoreTest, ACopyStandsInForARecordThatWasTornOrLost) {
  Store store = *Store::Open(run_dir_);
  for (const char* container : {"c1", "c2", "c3"}) {
    ASSERT_TRUE(store.Plan(Sample(container).id).ok());
    ASSERT_TRUE(store.Save(Sample(container)).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(run_dir_ + "/planned"));
  std::ofstream(run_dir_ + "/attachments/" + Sample("c1").id + ".json") << "torn";
  std::filesystem::remove(run_dir_ + "/attachments/" + Sample("c2").id + ".json");
  std::ofstream(run_dir_ + "/copies/" + Sample("c3").id + ".json") << "torn";
  const std::vector<AttachmentRecord> all = {Sample("c1"), Sample("c2"), Sample("c3")};
  absl::StatusOr<Store::Contents> contents = store.Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->records, testing::UnorderedElementsAreArray(all));
  EXPECT_THAT(contents->rebuilt, testing::UnorderedElementsAre(Sample("c1").id, Sample("c2").id));
  EXPECT_THAT(contents->problems, SizeIs(2));
  contents = store.Load();
  EXPECT_THAT(contents->records, testing::UnorderedElementsAreArray(all)) << "as if nothing was";
  EXPECT_THAT(contents->rebuilt, IsEmpty());
  EXPECT_THAT(contents->problems, IsEmpty());
}

// A kill between two files: the answer that the runtime got decides.
TEST_F(StoreTest, ACopyOfWhatWasNotCommittedOrHasEndedIsDropped) {
  Store store = *Store::Open(run_dir_);
  for (const char* container : {"planned", "ended"})
    ASSERT_TRUE(store.Save(Sample(container)).ok());
  const std::string copies = run_dir_ + "/copies/";
  const std::string kept = run_dir_ + "/kept";
  std::filesystem::copy(copies, kept);
  ASSERT_TRUE(store.Remove(Sample("planned").id).ok());
  ASSERT_TRUE(store.End(Sample("ended").id).ok());
  EXPECT_TRUE(std::filesystem::is_empty(copies));
  ASSERT_TRUE(store.Plan(Sample("planned").id).ok());
  std::ofstream(run_dir_ + "/planned/README") << "of no id";
  std::filesystem::copy(kept, copies);

  const absl::StatusOr<Store::Contents> contents = store.Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->records, IsEmpty());
  EXPECT_THAT(contents->planned, ElementsAre(Sample("planned").id));
  EXPECT_THAT(contents->ended, ElementsAre(Sample("ended")));
  EXPECT_TRUE(std::filesystem::is_empty(copies));
  ASSERT_TRUE(store.Unplan(Sample("planned").id).ok());
  ASSERT_TRUE(store.Unplan(Sample("planned").id).ok()) << "twice is fine";
  EXPECT_THAT(store.Load()->planned, IsEmpty());
}

TEST_F(StoreTest, ARecordOfAnAgentThatMadeNoCopiesGetsOne) {
  Store store = *Store::Open(run_dir_);
  ASSERT_TRUE(store.Save(Sample()).ok());
  std::filesystem::remove_all(run_dir_ + "/copies");
  store = *Store::Open(run_dir_);
  EXPECT_THAT(store.Load()->records, ElementsAre(Sample()));
  std::filesystem::remove(run_dir_ + "/attachments/" + Sample().id + ".json");
  EXPECT_THAT(store.Load()->rebuilt, ElementsAre(Sample().id));
}

TEST_F(StoreTest, AFailedSaveLeavesWhatWasThere) {
  Store store = *Store::Open(run_dir_);
  ASSERT_TRUE(store.Save(Sample()).ok());
  // A folder blocks the path of the file that is written beside.
  std::filesystem::create_directory(run_dir_ + "/attachments/" + Sample().id + ".json.new");
  AttachmentRecord changed = Sample();
  changed.mtu = 1000;
  EXPECT_FALSE(store.Save(changed).ok());
  EXPECT_THAT(store.Load()->records, ElementsAre(Sample()));
}

TEST_F(StoreTest, RecordsAreReadableByTheirOwnerOnly) {
  Store store = *Store::Open(run_dir_);
  ASSERT_TRUE(store.Save(Sample()).ok());
  struct stat file {};
  ASSERT_EQ(stat((run_dir_ + "/attachments/" + Sample().id + ".json").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST(ParseRecordTest, ReadsTheFormatAsItWasFirstWritten) {
  // Fixed text: a later version of this code must still read files of this one.
  const absl::StatusOr<AttachmentRecord> record = ParseRecord(R"({
    "version": 1, "id": ")" + Sample().id + R"(", "network": "blue", "container_id": "c1",
    "ifname": "eth0", "pod_namespace": "shop", "pod_name": "web-0", "pod_uid": "uid-1",
    "mode": "veth", "netns": "/run/netns/web", "host_ifname": "vx)" +
                                                              Sample().id + R"(",
    "mac": "02:00:5e:10:00:01", "mtu": 1450, "addresses": ["192.0.2.7/24", "2001:db8::7/64"],
    "vnl": "vxvde://239.1.2.3/vni=42", "a later key": {"is": "left alone"}})");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(*record, Sample());
}

std::string WithoutChecksum(std::string text) {
  const size_t at = text.find(",\n  \"checksum\": ");
  EXPECT_NE(at, std::string::npos) << text;
  return text.substr(0, at) + "\n}\n";
}

TEST(ParseRecordTest, AFileThatWasChangedOrTornIsRefused) {
  const std::string text = FormatRecord(Sample());
  EXPECT_TRUE(ParseRecord(text).ok());
  EXPECT_TRUE(ParseRecord(WithoutChecksum(text)).ok()) << "of an agent that wrote none";
  for (size_t size = 0; size + 2 < text.size(); ++size) {  // without "}\n" or more
    EXPECT_FALSE(ParseRecord(text.substr(0, size)).ok()) << size;
  }
  std::string changed = text;
  changed.replace(changed.find("1450"), 4, "1451");
  EXPECT_THAT(std::string(ParseRecord(changed).status().message()), HasSubstr("checksum"));
  // The checksum of these bytes, by zlib's crc32().
  const std::string ports = "{\n  \"version\": 1,\n  \"clouds\": []";
  EXPECT_EQ(FormatUnicastPorts({}), ports + ",\n  \"checksum\": \"c525fdf8\"\n}\n");
}

TEST(ParseRecordTest, RefusesWhatCannotBe) {
  const auto with = [](const std::string& from, const std::string& to) {
    std::string text = WithoutChecksum(FormatRecord(Sample()));
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return ParseRecord(text.replace(at, from.size(), to));
  };
  EXPECT_TRUE(with("1450", "1451").ok());
  EXPECT_TRUE(with("\"cni\"", "\"netavark\"").ok());
  EXPECT_FALSE(with("\"cni\"", "\"docker\"").ok());
  for (const auto& [from, to] : std::initializer_list<std::pair<const char*, const char*>>{
           {"\"version\": 1", "\"version\": 2"},
           {"\"version\": 1", "\"version\": \"1\""},
           {"\"blue\"", "\"green\""},
           {"\"c1\"", "7"},
           {"\"veth\"", "\"bridge\""},
           {"\"veth\"", "\"tap\""},
           {"\"host_ifname\": \"vx", "\"host_ifname\": \"eth"},
           {"02:00:5e:10:00:01", "01:00:5e:10:00:01"},
           {"02:00:5e:10:00:01", "nonsense"},
           {"1450", "-1"},
           {"1450", "1e3"},
           {"1450", "99999999999999999999"},
           {"192.0.2.7/24", "192.0.2.7"},
           {"\"shop\"", "\"a\\u0000b\""},
           {"\"allow\": []", "\"allow\": {}"},
           {"\"allow\": []", "\"allow\": [7]"},
           {"\"allow\": []", "\"allow\": [\"anything\"]"},
       }) {
    EXPECT_TRUE(absl::IsInvalidArgument(with(from, to).status())) << from << " -> " << to;
  }
  for (const char* text : {"", "null", "[]", "{", "{}", "\xff\xfe"}) {
    EXPECT_FALSE(ParseRecord(text).ok()) << text;
    EXPECT_FALSE(ParseUnicastPorts(text).ok()) << text;
  }
}

}  // namespace
}  // namespace vxvde
