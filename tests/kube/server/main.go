// SPDX-License-Identifier: Apache-2.0

// kube-server is a Kubernetes API server for tests: the registry, watch cache, authentication chain and encoders of k8s.io/apiserver over an etcd
// in the same process, with the three resources that weft speaks of. It is ordered about as tests/kube/apiserver.py is (control.go), so that the
// same sentences can be tested with both. There are no controllers, no admission and no validation beyond that of metadata.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

type options struct {
	dir, role, portFile, gates string
	port                       int
	forget, noHTTP2            bool
	goaway                     float64
}

func parse() options {
	var o options
	flag.StringVar(&o.dir, "dir", "", "what is kept: etcd, keys; and token and ca.crt, as a service account's volume has them")
	flag.StringVar(&o.role, "role", "", "YAML with the ClusterRole that is granted to who has the token")
	flag.StringVar(&o.portFile, "port-file", "", "is written once it serves: port for HTTPS, port for orders")
	flag.BoolVar(&o.forget, "forget", false, "history ends here: versions from before are too old")
	flag.IntVar(&o.port, "port", 0, "of 127.0.0.1, for HTTPS")
	flag.BoolVar(&o.noHTTP2, "disable-http2", false, "offer HTTP/1.1 alone")
	flag.Float64Var(&o.goaway, "goaway-chance", 0, "chance that a request over HTTP/2 is answered with GOAWAY, up to 0.02")
	flag.StringVar(&o.gates, "feature-gates", "", "such as WatchList=false")
	flag.Parse()
	if o.dir == "" || o.role == "" || o.portFile == "" {
		fmt.Fprintln(os.Stderr, "kube-server: --dir, --role and --port-file are needed")
		os.Exit(2)
	}
	return o
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-server:", err)
		os.Exit(1)
	}
}

func startEtcd(dir string) (*embed.Etcd, string) {
	free := func() []url.URL {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		defer l.Close()
		return []url.URL{{Scheme: "http", Host: l.Addr().String()}}
	}
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs = filepath.Join(dir, "etcd"), "error", []string{filepath.Join(dir, "etcd.log")}
	c.ListenPeerUrls, c.ListenClientUrls = free(), free()
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = c.ListenPeerUrls, c.ListenClientUrls
	c.InitialCluster = c.Name + "=" + c.ListenPeerUrls[0].String()
	c.WatchProgressNotifyInterval = 5 * time.Second // kubeadm's; bookmarks depend on it
	c.UnsafeNoFsync = true
	e, err := embed.StartEtcd(c)
	must(err)
	<-e.Server.ReadyNotify()
	return e, c.ListenClientUrls[0].String()
}

// A file that is read only once it is whole.
func publish(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func main() {
	o := parse()
	must(os.MkdirAll(o.dir, 0o700))
	etcd, etcdURL := startEtcd(o.dir)
	etcdClient, err := clientv3.New(clientv3.Config{Endpoints: []string{etcdURL}})
	must(err)
	if o.forget { // the watch cache begins at a version that nobody has seen
		put, err := etcdClient.Put(context.Background(), "forgotten", "")
		must(err)
		_, err = etcdClient.Compact(context.Background(), put.Header.Revision)
		must(err)
	}
	access, err := newAccess(o.dir, o.role)
	must(err)
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(o.port)))
	must(err)
	wire := &wire{Listener: listener, conns: map[*wireConn]bool{}}
	control := &control{wire: wire, etcd: etcdClient, access: access}
	server, stores := newServer(o, wire, access, control, etcdURL)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	control.api = server.Handler
	go func() {
		for stores["pods"].ReadinessCheckFunc() != nil || stores["namespaces"].ReadinessCheckFunc() != nil {
			time.Sleep(20 * time.Millisecond)
		}
		orders, err := control.listen()
		must(err)
		must(publish(o.portFile, fmt.Sprintln(listener.Addr().(*net.TCPAddr).Port, orders)))
	}()
	must(server.PrepareRun().RunWithContext(ctx))
	etcd.Close()
}
