// SPDX-License-Identifier: Apache-2.0
package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is the listener, below TLS: it can reset its connections, or have them say and hear nothing.
type wire struct {
	net.Listener
	hangsUntil atomic.Int64

	mutex sync.Mutex
	conns map[*wireConn]bool
}

type wireConn struct {
	*net.TCPConn
	wire *wire
}

func (w *wire) Accept() (net.Conn, error) {
	accepted, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &wireConn{accepted.(*net.TCPConn), w}
	w.mutex.Lock()
	w.conns[c] = true
	w.mutex.Unlock()
	return c, nil
}

func (w *wire) drop() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for c := range w.conns {
		_ = c.SetLinger(0)
		_ = c.TCPConn.Close()
	}
}

func (w *wire) wait() {
	if rest := time.Until(time.Unix(0, w.hangsUntil.Load())); rest > 0 {
		time.Sleep(rest)
	}
}

func (c *wireConn) Close() error {
	c.wire.mutex.Lock()
	delete(c.wire.conns, c)
	c.wire.mutex.Unlock()
	return c.TCPConn.Close()
}

func (c *wireConn) Read(bytes []byte) (int, error) {
	n, err := c.TCPConn.Read(bytes)
	c.wire.wait()
	return n, err
}

func (c *wireConn) Write(bytes []byte) (int, error) {
	c.wire.wait()
	return c.TCPConn.Write(bytes)
}
