//go:build !goplugin_before_1_3

package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

type healthStatus struct {
	Status string   `json:"status,omitempty"`
	Error  *failure `json:"error,omitempty"`
}

func statusOf(response *contracts.HealthResponse, err error) healthStatus {
	if err != nil {
		return healthStatus{Error: failureOf(err)}
	}
	names := map[int32]string{
		contracts.HealthUnknown: "UNKNOWN", contracts.HealthServing: "SERVING",
		contracts.HealthNotServing: "NOT_SERVING", contracts.HealthServiceUnknown: "SERVICE_UNKNOWN",
	}
	if name, ok := names[response.Status]; ok {
		return healthStatus{Status: name}
	}
	return healthStatus{Status: fmt.Sprint(response.Status)}
}

// health: Check and Watch of the names "plugin" and "" and of an unknown name, and List.
func health(ctx context.Context, s *session) (any, error) {
	dispensed, err := s.dispense()
	if err != nil {
		return nil, err
	}
	client := contracts.HealthClient{Conn: dispensed.Conn}
	var result struct {
		Check     map[string]healthStatus `json:"check"`
		Watch     map[string]healthStatus `json:"watch"`
		List      map[string]healthStatus `json:"list"`
		ListError *failure                `json:"list_error,omitempty"`
	}
	result.Check, result.Watch = map[string]healthStatus{}, map[string]healthStatus{}
	for _, name := range []string{"plugin", "", "nobody"} {
		request := &contracts.HealthRequest{Service: name}
		result.Check[name] = statusOf(client.Check(ctx, request))
		result.Watch[name] = statusOf(firstWatched(ctx, client, request))
	}
	all, err := client.List(ctx)
	result.ListError = failureOf(err)
	if err == nil {
		result.List = map[string]healthStatus{}
		for name, response := range all.Statuses {
			result.List[name] = statusOf(response, nil)
		}
	}
	return result, nil
}

// firstWatched returns the first status of a watch, which is then cancelled.
func firstWatched(ctx context.Context, client contracts.HealthClient, in *contracts.HealthRequest) (*contracts.HealthResponse, error) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	watch, err := client.Watch(ctx, in)
	if err != nil {
		return nil, err
	}
	return contracts.Recv[contracts.HealthResponse](watch)
}

type reflected struct {
	Services []string `json:"services"`
	Error    *failure `json:"error,omitempty"`
	// Files tells for each service how many descriptors its file came with, or the error.
	Files map[string]any `json:"files"`
}

// reflection: the services listed, and the files that describe them, by v1 and v1alpha.
func reflection(ctx context.Context, s *session) (any, error) {
	dispensed, err := s.dispense()
	if err != nil {
		return nil, err
	}
	result := map[string]*reflected{}
	for _, version := range []string{"v1", "v1alpha"} {
		seen := &reflected{Services: []string{}, Files: map[string]any{}}
		seen.Error = failureOf(reflect(ctx, dispensed.Conn, version, seen))
		result[version] = seen
	}
	return result, nil
}

func reflect(ctx context.Context, conn *grpc.ClientConn, version string, seen *reflected) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	calls, err := contracts.Reflect(ctx, conn, version)
	if err != nil {
		return err
	}
	ask := func(request *contracts.ReflectionRequest) (*contracts.ReflectionResponse, error) {
		if err := calls.SendMsg(request); err != nil {
			// The next receive returns the reason.
			return contracts.Recv[contracts.ReflectionResponse](calls)
		}
		return contracts.Recv[contracts.ReflectionResponse](calls)
	}
	listed, err := ask(&contracts.ReflectionRequest{ListServices: "*"})
	if err != nil {
		return err
	}
	if listed.Services == nil {
		return fmt.Errorf("the plugin did not list its services: %v", listed.Error)
	}
	for _, service := range listed.Services.Service {
		seen.Services = append(seen.Services, service.Name)
		described, err := ask(&contracts.ReflectionRequest{Symbol: service.Name})
		if err != nil {
			return err
		}
		switch {
		case described.Error != nil:
			seen.Files[service.Name] = described.Error.Message
		case described.Files != nil:
			seen.Files[service.Name] = len(described.Files.Descriptors)
		}
	}
	return calls.CloseSend()
}
