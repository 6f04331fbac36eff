package contracts

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
)

// The Go peers share these structs, so two peers with the same wrong tag would agree: the .proto
// files decide.

var (
	comment = regexp.MustCompile(`//[^\n]*`)
	message = regexp.MustCompile(`(?s)message (\w+) \{(.*?)\n?\}`)
	nested  = regexp.MustCompile(`(?s)enum \w+ \{.*?\}`)
	field   = regexp.MustCompile(`(repeated )?(map<\w+, \w+>|\w+) (\w+) = (\d+);`)
	service = regexp.MustCompile(`(?s)service (\w+) \{(.*?)\n\}`)
	method  = regexp.MustCompile(`rpc (\w+)\((stream )?[\w.]+\) returns \((stream )?[\w.]+\)`)
)

// protos returns the text of one file, without comments and enums.
func protos(t *testing.T, name string) string {
	data, err := os.ReadFile(filepath.Join("../../proto", name))
	if err != nil {
		t.Fatal(err)
	}
	return nested.ReplaceAllString(comment.ReplaceAllString(string(data), ""), "")
}

func TestMessages(t *testing.T) {
	files := map[string]map[string]any{
		"greeter/greeter.proto": {"GreetRequest": GreetRequest{}, "GreetResponse": GreetResponse{}},
		"kv/kv.proto": {
			"GetRequest": KVGetRequest{}, "GetResponse": KVGetResponse{}, "PutRequest": KVPutRequest{}, "Empty": Empty{},
		},
		"probe/probe.proto": {
			"Payload": Payload{}, "DownloadRequest": DownloadRequest{}, "UploadSummary": UploadSummary{},
			"FailRequest": FailRequest{}, "HangRequest": HangRequest{}, "AwaitHangRequest": AwaitHangRequest{},
			"HangReport": HangReport{}, "PrintRequest": PrintRequest{}, "DieRequest": DieRequest{},
			"InspectRequest": InspectRequest{}, "InspectReport": InspectReport{},
		},
		"probe/broker_probe.proto": {
			"OfferRequest": OfferRequest{}, "OfferReply": OfferReply{}, "DialBackRequest": DialBackRequest{},
			"DialBackReport": DialBackReport{}, "NestRequest": NestRequest{}, "NestReply": NestReply{},
			"ReleaseRequest": ReleaseRequest{}, "ReleaseReply": ReleaseReply{},
			"HoldRequest": HoldRequest{}, "HoldReply": HoldReply{},
			"HoldingsRequest": HoldingsRequest{}, "HoldingsReply": HoldingsReply{},
		},
		"plugin/controller.proto": {"Empty": Empty{}},
		"plugin/stdio.proto":      {"StdioData": StdioData{}},
		"grpc/health/v1/health.proto": {
			"HealthCheckRequest": HealthRequest{}, "HealthCheckResponse": HealthResponse{},
			"HealthListRequest": Empty{}, "HealthListResponse": HealthListResponse{},
		},
	}
	for file, structs := range files {
		found := message.FindAllStringSubmatch(protos(t, file), -1)
		if len(found) != len(structs) {
			t.Errorf("%s has %d messages, this package has %d", file, len(found), len(structs))
		}
		for _, match := range found {
			here, ok := structs[match[1]]
			if !ok {
				t.Errorf("%s: %s is missing in this package", file, match[1])
				continue
			}
			if want, got := described(match[2]), tagged(reflect.TypeOf(here)); want != got {
				t.Errorf("%s: %s is\n%swant\n%s", file, match[1], got, want)
			}
		}
	}
}

// described lists a message's fields as "number kind name".
func described(body string) string {
	var all strings.Builder
	for _, match := range field.FindAllStringSubmatch(body, -1) {
		kind := "varint opt"
		switch {
		case strings.HasPrefix(match[2], "map<"):
			kind = "bytes rep"
		case match[2] == "string" || match[2] == "bytes":
			kind = "bytes opt"
		}
		if match[1] != "" {
			kind = "bytes rep"
		}
		fmt.Fprintf(&all, "%s %s %s\n", match[4], kind, match[3])
	}
	return all.String()
}

// tagged lists a struct's fields in the same form.
func tagged(of reflect.Type) string {
	var all strings.Builder
	for n := range of.NumField() {
		parts := strings.Split(of.Field(n).Tag.Get("protobuf"), ",")
		fmt.Fprintf(&all, "%s %s %s %s\n", parts[1], parts[0], parts[2], strings.TrimPrefix(parts[3], "name="))
	}
	return all.String()
}

func TestServices(t *testing.T) {
	for file, desc := range map[string]grpc.ServiceDesc{
		"greeter/greeter.proto":    greeterDesc,
		"kv/kv.proto":              kvDesc,
		"probe/probe.proto":        probeDesc,
		"probe/broker_probe.proto": brokerProbeDesc,
		"plugin/controller.proto":  controllerDesc,
		"plugin/stdio.proto":       stdioDesc,
		"plugin/broker.proto":      brokerDesc,
	} {
		match := service.FindStringSubmatch(protos(t, file))
		here := map[string][2]bool{}
		for _, unary := range desc.Methods {
			here[unary.MethodName] = [2]bool{}
		}
		for _, stream := range desc.Streams {
			here[stream.StreamName] = [2]bool{stream.ClientStreams, stream.ServerStreams}
		}
		want := map[string][2]bool{}
		for _, rpc := range method.FindAllStringSubmatch(match[2], -1) {
			want[rpc[1]] = [2]bool{rpc[2] != "", rpc[3] != ""}
		}
		if !reflect.DeepEqual(here, want) {
			t.Errorf("%s has %v, this package has %v", file, want, here)
		}
		pack, isOf := strings.CutSuffix(desc.ServiceName, "."+match[1])
		if !isOf || !strings.Contains(protos(t, file), "package "+pack+";") {
			t.Errorf("%s has no %s", file, desc.ServiceName)
		}
	}
}
