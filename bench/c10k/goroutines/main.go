// A SOCKS5 proxy as tutorials write it in Go: authenticate, connect, relay, a goroutine for each connection and two
// io.Copy for its two directions. Short, quick to write, and as fast as the kernel: io.Copy between two TCP sockets is
// splice(2). It stands here for what goroutines cost, and it has the faults of its kind; none is mended, for they are
// what the laboratory shows:
//
//   - No deadlines: who connects and says nothing holds a goroutine and its descriptors for ever, and so does a dial.
//   - No half-close: when one direction ends both are closed, and what was still under way the other way is lost.
//   - An error of Accept is passed over. With no descriptor left it comes back at once, every time: the loop spins.
//   - A spliced direction holds a pipe while it waits, so that a relayed connection takes six descriptors, not two.
//   - The reply to a failed dial is none at all, so the client can't tell refused from unreachable.
//   - No limit on connections, and nothing closes those that are open when the program ends.
//   - The address in the reply is zeros, and whoever connects may go anywhere.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	port := "0"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	server, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on socks5://%s\n", server.Addr())
	for {
		client, err := server.Accept()
		if err != nil {
			continue
		}
		go process(client)
	}
}

func process(client net.Conn) {
	defer client.Close()
	if err := authenticate(client); err != nil {
		return
	}
	target, err := connect(client)
	if err != nil {
		return
	}
	defer target.Close()
	relay(client, target)
}

func authenticate(client net.Conn) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(client, head); err != nil {
		return err
	}
	if head[0] != 5 {
		return errors.New("not SOCKS5")
	}
	if _, err := io.ReadFull(client, make([]byte, head[1])); err != nil {
		return err
	}
	_, err := client.Write([]byte{5, 0})
	return err
}

func connect(client net.Conn) (net.Conn, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return nil, err
	}
	if head[0] != 5 || head[1] != 1 {
		return nil, errors.New("not a CONNECT")
	}
	var host string
	switch head[3] {
	case 1:
		ip := make([]byte, 4)
		if _, err := io.ReadFull(client, ip); err != nil {
			return nil, err
		}
		host = net.IP(ip).String()
	case 3:
		size := make([]byte, 1)
		if _, err := io.ReadFull(client, size); err != nil {
			return nil, err
		}
		name := make([]byte, size[0])
		if _, err := io.ReadFull(client, name); err != nil {
			return nil, err
		}
		host = string(name)
	default:
		return nil, errors.New("no such address type")
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(client, port); err != nil {
		return nil, err
	}
	target, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port))))
	if err != nil {
		return nil, err
	}
	if _, err := client.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

func relay(client, target net.Conn) {
	done := make(chan struct{}, 2)
	copy := func(to, from net.Conn) {
		io.Copy(to, from)
		done <- struct{}{}
	}
	go copy(target, client)
	go copy(client, target)
	<-done
}
