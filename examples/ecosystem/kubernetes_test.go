package ecosystem_test

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	clientcmd "k8s.io/client-go/tools/clientcmd/api"

	"github.com/evertoken/evertoken/evertest"
)

// Clients of Kubernetes have the command evertoken fetch their token, as kubectl
// does with this in its configuration:
//
//	users:
//	- name: me
//	  user:
//	    exec:
//	      apiVersion: client.authentication.k8s.io/v1
//	      command: evertoken
//	      args: [token, -o, exec-credential]
//	      interactiveMode: Never
func TestKubernetes(t *testing.T) {
	issuer := evertest.NewServer(t)
	command := filepath.Join(t.TempDir(), "evertoken")
	run(t, "", "go", "build", "-C", "../..", "-o", command, "./cmd/evertoken")
	store := t.TempDir()
	run(t, evertest.Password+"\n", command, "login", "--lightnap", issuer.Listen(), evertest.Login, "--password-stdin", "--store", store)

	var tokens []string
	cluster := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
	}))
	defer cluster.Close()
	client, err := rest.HTTPClientFor(&rest.Config{
		Host:            cluster.URL,
		TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})},
		ExecProvider: &clientcmd.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: command, InteractiveMode: clientcmd.NeverExecInteractiveMode,
			Args: []string{"token", "-o", "exec-credential", "--store", store},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		resp, err := client.Get(cluster.URL + "/version")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	want := "Bearer " + strings.TrimSpace(run(t, "", command, "token", "--store", store))
	if len(tokens) != 2 || tokens[0] != want || tokens[1] != want {
		t.Errorf("the cluster was sent %q", tokens)
	}
}

// run returns what a command says.
func run(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		var ended *exec.ExitError
		_ = errors.As(err, &ended)
		t.Fatalf("%s %s: %v\n%s", name, args[0], err, ended.Stderr)
	}
	return string(out)
}
