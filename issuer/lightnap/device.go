package lightnap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/evertoken/evertoken"
)

// A Device is one session of an account, as its user sees it.
type Device struct {
	ID        string    // for RevokeDevice; no secret
	LastSeen  time.Time // when the session was last renewed
	IPAddress string    // where that came from
	Details   string    // see Issuer.DeviceDetails
}

// Devices lists the sessions of the account that t belongs to, t's own among
// them. It needs t's access token: Client.Token has one that is valid. A server
// that refuses it answers with an [*evertoken.RefreshError] of status 401.
func (i *Issuer) Devices(ctx context.Context, t evertoken.Token) ([]Device, error) {
	result, answer, err := i.call(ctx, http.MethodGet, "devices", nil, bearer(t))
	if err != nil {
		return nil, fmt.Errorf("lightnap: devices: %w", err)
	}
	var devices []struct {
		ID        json.RawMessage `json:"id"` // a string, or a number at some servers
		LastSeen  time.Time       `json:"lastSeen"`
		IPAddress string          `json:"ipAddress"`
		Details   string          `json:"details"`
	}
	if json.Unmarshal(result, &devices) != nil {
		return nil, &evertoken.RefreshError{StatusCode: answer.StatusCode, Err: errors.New("lightnap: devices: member result of the answer is no list of devices")}
	}
	list := make([]Device, 0, len(devices))
	for _, d := range devices {
		id := string(d.ID)
		_ = json.Unmarshal(d.ID, &id) // a number stays as it is written
		list = append(list, Device{id, d.LastSeen, d.IPAddress, d.Details})
	}
	return list, nil
}

// RevokeDevice ends one of the sessions that Devices lists, with t as for
// Devices. An id that is not among them is Rejected.
func (i *Issuer) RevokeDevice(ctx context.Context, t evertoken.Token, id string) error {
	if id == "" {
		return errors.New("lightnap: revoke device: id is empty")
	}
	if _, _, err := i.call(ctx, http.MethodDelete, "devices/"+url.PathEscape(id), nil, bearer(t)); err != nil {
		return fmt.Errorf("lightnap: revoke device: %w", err)
	}
	return nil
}
