package storetest_test

import (
	"testing"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/storetest"
)

// The whole test of a store. Here it is that of [storage.File].
func ExampleRun() {
	var t *testing.T // of TestMyStore
	test := func() {
		storetest.Run(t, storetest.Backend{
			New:  func(t testing.TB) string { return t.TempDir() },
			Open: func(location string) (storage.Store, error) { return storage.NewFile(location), nil },
		})
	}
	_ = test
}

// A store on a server that can be killed and started again.
func ExampleRunServer() {
	var t *testing.T // of TestMyServer
	var server interface {
		Open() (storage.Store, error)
		Kill()
		Start() error
	}
	test := func() {
		storetest.RunServer(t, storetest.Server{Open: server.Open, Kill: server.Kill, Start: server.Start})
	}
	_ = test
}
