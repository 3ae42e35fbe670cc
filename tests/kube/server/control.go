// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// control takes the orders of tests/kube/apiserver.py, on a port of its own. What they say of objects becomes requests of the administrator, which go
// all the way that a request goes, but for the connection.
type control struct {
	wire   *wire
	etcd   *clientv3.Client
	access *access
	api    http.Handler

	mutex          sync.Mutex
	faults         []*fault
	lists, watches atomic.Int64
}

type fault struct {
	Code       int    `json:"code"`
	Count      int    `json:"count"`
	RetryAfter int    `json:"retry_after"`
	Verb       string `json:"verb"`
}

type order struct {
	Put     json.RawMessage `json:"put"`
	Delete  json.RawMessage `json:"delete"`
	End     json.RawMessage `json:"end"`
	Fault   *fault          `json:"fault"`
	Drop    bool            `json:"drop"`
	Hang    float64         `json:"hang"`
	Compact bool            `json:"compact"`
	Rotate  bool            `json:"rotate"`
	Expire  bool            `json:"expire_token"`
}

func (c *control) listen() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, r *http.Request) {
		var o order
		err := json.NewDecoder(r.Body).Decode(&o)
		var uids []string
		if err == nil {
			uids, err = c.obey(&o)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"uids": uids})
	})
	mux.HandleFunc("GET /control", func(w http.ResponseWriter, r *http.Request) {
		var list struct {
			Items []map[string]any `json:"items"`
		}
		text, err := c.ask("GET", "/api/v1/events", nil)
		if err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"lists": c.lists.Load(), "watches": c.watches.Load(), "events": list.Items,
			"faults": c.waiting()})
	})
	go func() { must(http.Serve(listener, mux)) }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// ask is a request by the administrator.
func (c *control) ask(method, path string, body []byte) ([]byte, error) {
	request := httptest.NewRequest(method, path, bytes.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+c.access.admin)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	c.api.ServeHTTP(answer, request)
	if answer.Code >= 300 {
		return nil, &refusal{answer.Code, fmt.Sprintf("%s %s: %d %s", method, path, answer.Code, answer.Body)}
	}
	return answer.Body.Bytes(), nil
}

func pathOf(kind, namespace, name string) string {
	if kind == "Namespace" {
		return strings.TrimSuffix("/api/v1/namespaces/"+name, "/")
	}
	return strings.TrimSuffix("/api/v1/namespaces/"+namespace+"/pods/"+name, "/")
}

func (c *control) put(object map[string]any) (string, error) {
	metadata, _ := object["metadata"].(map[string]any)
	kind, _ := object["kind"].(string)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	status, hasStatus := object["status"].(map[string]any)
	if kind != "Pod" && kind != "Namespace" {
		return "", fmt.Errorf("kind %q", kind)
	}
	delete(metadata, "uid") // the server's to give
	object["apiVersion"] = "v1"
	text, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	answer, err := c.ask("PUT", pathOf(kind, namespace, name), text)
	if r, ok := err.(*refusal); ok && r.code == http.StatusNotFound {
		answer, err = c.ask("POST", pathOf(kind, namespace, ""), text)
	}
	if err == nil && kind == "Pod" && hasStatus {
		if _, ok := status["qosClass"]; !ok {
			status["qosClass"] = "Burstable"
			text, _ = json.Marshal(object)
		}
		answer, err = c.ask("PUT", pathOf(kind, namespace, name)+"/status", text)
	}
	var made struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	if err == nil {
		err = json.Unmarshal(answer, &made)
	}
	return made.Metadata.UID, err
}

// each calls `of` for the one thing that `text` has, or for all in its list.
func each[T any](text json.RawMessage, of func(T) error) error {
	var many []T
	if len(text) == 0 {
		return nil
	}
	if text[0] != '[' {
		text = append(append([]byte{'['}, text...), ']')
	}
	if err := json.Unmarshal(text, &many); err != nil {
		return err
	}
	for _, one := range many {
		if err := of(one); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) remove(name, query string) error {
	path := pathOf("Namespace", "", name)
	if namespace, pod, ok := strings.Cut(name, "/"); ok {
		path = pathOf("Pod", namespace, pod)
	}
	_, err := c.ask("DELETE", path+query, nil)
	return err
}

func (c *control) obey(o *order) (uids []string, err error) {
	uids = []string{}
	err = each(o.Put, func(object map[string]any) error {
		uid, err := c.put(object)
		uids = append(uids, uid)
		return err
	})
	if err == nil {
		err = each(o.Delete, func(name string) error { return c.remove(name, "?gracePeriodSeconds=0") })
	}
	if err == nil { // as `kubectl delete pod`: its kubelet deletes it once it has ended
		err = each(o.End, func(name string) error { return c.remove(name, "") })
	}
	if err == nil && o.Compact {
		err = c.compact()
	}
	if o.Expire {
		c.access.expire()
	}
	if err == nil && o.Rotate {
		err = c.access.rotate(true)
	}
	if o.Fault != nil {
		c.mutex.Lock()
		o.Fault.Count = max(o.Fault.Count, 1)
		c.faults = append(c.faults, o.Fault)
		c.mutex.Unlock()
	}
	if o.Hang > 0 {
		c.wire.hangsUntil.Store(time.Now().Add(time.Duration(o.Hang * float64(time.Second))).UnixNano())
	}
	if o.Drop {
		c.wire.drop()
	}
	return uids, err
}

// compact drops etcd's history, as it does itself every five minutes.
func (c *control) compact() error {
	ctx := c.etcd.Ctx()
	got, err := c.etcd.Get(ctx, "none")
	if err == nil {
		_, err = c.etcd.Compact(ctx, got.Header.Revision)
	}
	return err
}

func (c *control) waiting() (count int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, f := range c.faults {
		count += f.Count
	}
	return count
}

func (c *control) take(verb string) *fault {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, f := range c.faults {
		if f.Count > 0 && (f.Verb == "" || f.Verb == verb) {
			f.Count--
			return f
		}
	}
	return nil
}

// wrap counts what others than the administrator ask, and answers with what was ordered.
func (c *control) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Authorization") == "Bearer "+c.access.admin {
			next.ServeHTTP(w, r)
			return
		}
		verb, count := "list", &c.lists
		if r.URL.Query().Get("watch") != "" {
			verb, count = "watch", &c.watches
		}
		count.Add(1)
		if verb == "list" && r.URL.Query().Get("continue") != "" {
			verb = "continue"
		}
		if f := c.take(verb); f != nil {
			responsewriters.ErrorNegotiated(f.error(), codecs, v1, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *fault) error() error {
	const text = "as ordered"
	switch f.Code {
	case http.StatusTooManyRequests:
		return errors.NewTooManyRequests(text, f.RetryAfter)
	case http.StatusInternalServerError:
		return errors.NewInternalError(fmt.Errorf(text))
	case http.StatusServiceUnavailable:
		return errors.NewServiceUnavailable(text)
	case http.StatusGatewayTimeout:
		return errors.NewTimeoutError(text, f.RetryAfter)
	case http.StatusGone:
		return errors.NewResourceExpired(text)
	}
	return errors.NewGenericServerResponse(f.Code, "get", v1.WithResource("pods").GroupResource(), "", text, f.RetryAfter, true)
}
