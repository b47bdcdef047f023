package main

import (
	"os"
	"testing"

	"github.com/evertoken/evertoken/storage/natsstore/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main() // this program is the NATS server too
	os.Exit(m.Run())
}
