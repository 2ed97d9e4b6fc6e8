#!/usr/bin/python3
"""Calls vxvde.v1.Status as an unknown client: through server reflection alone.

    grpc_reflect.py ADDRESS METHOD [JSON] [--all]
    grpc_reflect.py ADDRESS                         lists services and their methods

ADDRESS is a gRPC target (unix:/run/vxvde/status.sock), METHOD a name of vxvde.v1.Status or SERVICE/METHOD, JSON the request.
Prints the response as JSON; of a stream, one response a line; with --all, follows next_page_token and prints the merged list.

It does not know the .proto files: descriptors come from the server, by grpc.reflection.v1alpha, whose own messages are
defined below (Debian has no grpc_reflection). Exit status: 0, or 1 with the gRPC error on stderr.
"""

import argparse
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

REFLECTION = "grpc.reflection.v1alpha"
F = descriptor_pb2.FieldDescriptorProto


def reflection_pool():
    """The necessary part of grpc/reflection/v1alpha/reflection.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="reflection.proto", package=REFLECTION, syntax="proto3"
    )

    def message(name, *fields):
        m = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            f = m.field.add(name=field, number=number)
            f.label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
            if isinstance(kind, str):
                f.type, f.type_name = F.TYPE_MESSAGE, f".{REFLECTION}.{kind}"
            else:
                f.type = kind
        return m

    request = message(
        "ServerReflectionRequest",
        (3, "file_by_filename", F.TYPE_STRING, False),
        (4, "file_containing_symbol", F.TYPE_STRING, False),
        (7, "list_services", F.TYPE_STRING, False),
    )
    request.oneof_decl.add(name="message_request")  # so that an empty list_services is sent
    for field in request.field:
        field.oneof_index = 0
    message("FileDescriptorResponse", (1, "file_descriptor_proto", F.TYPE_BYTES, True))
    message("ServiceResponse", (1, "name", F.TYPE_STRING, False))
    message("ListServiceResponse", (1, "service", "ServiceResponse", True))
    message(
        "ErrorResponse",
        (1, "error_code", F.TYPE_INT32, False),
        (2, "error_message", F.TYPE_STRING, False),
    )
    message(
        "ServerReflectionResponse",
        (4, "file_descriptor_response", "FileDescriptorResponse", False),
        (6, "list_services_response", "ListServiceResponse", False),
        (7, "error_response", "ErrorResponse", False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def message_class(pool, name):
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))


class Server:
    """A gRPC server with reflection."""

    def __init__(self, address, timeout=10):
        self.channel = grpc.insecure_channel(address)
        self.timeout = timeout
        pool = reflection_pool()
        self._request = message_class(pool, REFLECTION + ".ServerReflectionRequest")
        self._response = message_class(pool, REFLECTION + ".ServerReflectionResponse")
        self._call = self.channel.stream_stream(
            f"/{REFLECTION}.ServerReflection/ServerReflectionInfo",
            request_serializer=self._request.SerializeToString,
            response_deserializer=self._response.FromString,
        )
        self._pool = descriptor_pool.DescriptorPool()
        self._known = set()

    def _ask(self, **question):
        answer = next(self._call(iter([self._request(**question)]), timeout=self.timeout))
        if answer.HasField("error_response"):
            raise LookupError(answer.error_response.error_message)
        return answer

    def services(self):
        answer = self._ask(list_services="*")
        return sorted(s.name for s in answer.list_services_response.service)

    def _learn(self, **question):
        answer = self._ask(**question)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            if file.name in self._known:
                continue
            self._known.add(file.name)
            for dependency in file.dependency:  # the pool requires them first
                if dependency not in self._known:
                    self._learn(file_by_filename=dependency)
            self._pool.Add(file)

    def service(self, name):
        """ServiceDescriptor, as the server describes it."""
        self._learn(file_containing_symbol=name)
        return self._pool.FindServiceByName(name)

    def call(self, service, method, request):
        """Yields responses (messages) to `request` (a dict in JSON mapping)."""
        descriptor = self.service(service).methods_by_name[method]
        request_class = message_class(self._pool, descriptor.input_type.full_name)
        response_class = message_class(self._pool, descriptor.output_type.full_name)
        proto = descriptor_pb2.MethodDescriptorProto()
        descriptor.CopyToProto(proto)
        make = self.channel.unary_stream if proto.server_streaming else self.channel.unary_unary
        call = make(
            f"/{service}/{method}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        message = json_format.ParseDict(request, request_class())
        if proto.server_streaming:
            yield from call(message)
        else:
            yield call(message, timeout=self.timeout)


def to_dict(message):
    return json_format.MessageToDict(message, including_default_value_fields=True)


def call_all(server, service, method, request):
    """The whole list, page after page."""
    merged = None
    while True:
        (page,) = server.call(service, method, request)
        if merged is None:
            merged = page
        else:
            merged.MergeFrom(page)
        if not page.next_page_token:
            merged.next_page_token = ""
            return merged
        request = dict(request, pageToken=page.next_page_token)


def main():
    parser = argparse.ArgumentParser(description="Calls a gRPC method by server reflection.")
    parser.add_argument("address")
    parser.add_argument("method", nargs="?", help="of vxvde.v1.Status, or SERVICE/METHOD")
    parser.add_argument("request", nargs="?", default="{}", help="JSON")
    parser.add_argument("--all", action="store_true", help="all pages of a list")
    arguments = parser.parse_args()

    server = Server(arguments.address)
    if arguments.method is None:
        for name in server.services():
            print(name, *[m.name for m in server.service(name).methods])
        return
    service, _, method = arguments.method.rpartition("/")
    service = service or "vxvde.v1.Status"
    request = json.loads(arguments.request)
    if arguments.all:
        print(json.dumps(to_dict(call_all(server, service, method, request)), indent=1))
        return
    for response in server.call(service, method, request):
        print(json.dumps(to_dict(response)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        pass
