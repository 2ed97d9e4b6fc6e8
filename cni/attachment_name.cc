#include "cni/attachment_name.h"

#include "agent/api/attachment_id.h"

namespace vxvde {

AttachmentName NameOf(const Network& network, const Container& container,
                      const std::string& ifname) {
  return {.network = network.name,
          .container_id = container.id,
          .ifname = ifname,
          .main_ifname = container.ifname};
}

AttachmentName NameOf(const Network& network, const Container& container) {
  return NameOf(network, container, container.ifname);
}

AttachmentName NameOf(const attach::v1::Listed::Attachment& listed) {
  return {.network = listed.key().network(),
          .container_id = listed.key().container_id(),
          .ifname = listed.key().ifname(),
          .main_ifname = listed.main_ifname()};
}

std::string IdOf(const AttachmentName& name) {
  return AttachmentId(name.network, name.container_id, name.ifname);
}

attach::v1::AttachmentKey KeyOf(const AttachmentName& name) {
  attach::v1::AttachmentKey key;
  key.set_network(name.network);
  key.set_container_id(name.container_id);
  key.set_ifname(name.ifname);
  return key;
}

LinkNames LinksOf(const AttachmentName& name, const std::string& netns) {
  const std::string id = IdOf(name);
  const std::string main_id = AttachmentId(name.network, name.container_id, name.main_ifname);
  return {.netns = netns,
          .ifname = name.ifname,
          .host_ifname = HostIfName(id),
          .alias = LinkAlias(id, main_id)};
}

attach::v1::Plan PlanOf(const AddRequest& request, const Attachment& attachment) {
  attach::v1::Plan plan;
  const AttachmentName name = NameOf(request.network, request.container, attachment.ifname);
  *plan.mutable_key() = KeyOf(name);
  if (name.ifname != name.main_ifname) plan.set_main_ifname(name.main_ifname);
  plan.set_by_annotation(!attachment.asked_by.empty());
  plan.set_cloud(attachment.cloud.name);
  plan.set_vnl(attachment.cloud.vnl);
  plan.set_mode(request.mode == LinkMode::kTap ? attach::v1::TAP : attach::v1::VETH);
  plan.set_netns(request.container.netns);
  plan.mutable_pod()->set_namespace_(request.pod.name_space);
  plan.mutable_pod()->set_name(request.pod.name);
  plan.mutable_pod()->set_uid(request.pod.uid);
  plan.set_caller(request.caller == Caller::kNetavark ? "netavark" : "cni");
  if (attachment.mac) plan.set_mac(attachment.mac->bytes().data(), MacAddress::kSize);
  plan.set_mtu(attachment.mtu);
  plan.set_addresses_by_caller(attachment.address_source != AddressSource::kAgent);
  for (const RequestedIp& ip : attachment.ips) {
    switch (attachment.address_source) {
      case AddressSource::kAgent:
        plan.add_addresses(ip.address.ToString());
        break;
      case AddressSource::kCaller:
        plan.add_addresses(IpPrefix{ip.address, ip.length.value_or(0)}.ToString());
        break;
      case AddressSource::kIpamPlugin:  // known at the commit
        break;
    }
  }
  for (const PublishedPort& port : attachment.ports) {
    attach::v1::PortMapping& mapping = *plan.add_port_mappings();
    mapping.set_host_port(port.host_port);
    mapping.set_container_port(port.container_port);
    mapping.set_protocol(port.protocol);
    if (port.host_ip) mapping.set_host_ip(port.host_ip->ToString());
  }
  for (const std::string& one : attachment.allow) plan.add_allow(one);
  for (const std::string& one : attachment.allow_by_annotation) plan.add_allow_by_annotation(one);
  return plan;
}

}  // namespace vxvde
