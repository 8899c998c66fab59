// SPDX-License-Identifier: MIT

// A TURN server and a TURN client of Pion's library, for tests. User alice, password secret.
//
//	pion serve ADDRESS [CERTIFICATE KEY]  UDP and TCP on port 3478, TLS on 5349; says "ready".
//	                                      It relays to nobody at 10.9.0.77
//	pion client HOST PORT udp|tcp|tls     says "relayed ADDRESS:PORT", then sends each line
//	                                      "ADDRESS:PORT TEXT" of its input, says "sent
//	                                      ADDRESS:PORT", and prints what comes
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"os"
	"strings"

	"github.com/pion/logging"
	"github.com/pion/turn/v2"
)

const realm = "pion.test"

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func password(user, asked string, _ net.Addr) ([]byte, bool) {
	return turn.GenerateAuthKey(user, realm, "secret"), user == "alice" && asked == realm
}

func serve(address string, certificate []string) {
	relay := func() turn.RelayAddressGenerator {
		return &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(address), Address: address}
	}
	allow := func(_ net.Addr, peer net.IP) bool { return peer.String() != "10.9.0.77" }
	udp, err := net.ListenPacket("udp4", net.JoinHostPort(address, "3478"))
	must(err)
	tcp, err := net.Listen("tcp4", net.JoinHostPort(address, "3478"))
	must(err)
	listeners := []turn.ListenerConfig{{tcp, relay(), allow}}
	if len(certificate) == 2 {
		pair, err := tls.LoadX509KeyPair(certificate[0], certificate[1])
		must(err)
		secure, err := tls.Listen("tcp4", net.JoinHostPort(address, "5349"),
			&tls.Config{Certificates: []tls.Certificate{pair}})
		must(err)
		listeners = append(listeners, turn.ListenerConfig{secure, relay(), allow})
	}
	_, err = turn.NewServer(turn.ServerConfig{
		Realm: realm, AuthHandler: password, ListenerConfigs: listeners,
		PacketConnConfigs: []turn.PacketConnConfig{{udp, relay(), allow}}})
	must(err)
	fmt.Println("ready")
	select {}
}

func leg(server, transport string) net.PacketConn {
	if transport == "udp" {
		conn, err := net.ListenPacket("udp4", "0.0.0.0:0")
		must(err)
		return conn
	}
	conn, err := net.Dial("tcp4", server)
	must(err)
	if transport == "tls" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return turn.NewSTUNConn(conn)
}

func client(server, transport string) {
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: leg(server, transport),
		Username: "alice", Password: "secret", LoggerFactory: logging.NewDefaultLoggerFactory()})
	must(err)
	must(client.Listen())
	relayed, err := client.Allocate()
	must(err)
	fmt.Println("relayed", relayed.LocalAddr())
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := relayed.ReadFrom(buffer)
			if err != nil {
				return
			}
			fmt.Printf("%s %s\n", from, buffer[:n])
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.SplitN(lines.Text(), " ", 2)
		peer, err := net.ResolveUDPAddr("udp4", words[0])
		must(err)
		_, err = relayed.WriteTo([]byte(words[1]), peer)
		must(err)
		fmt.Println("sent", words[0])
	}
	must(relayed.Close())
	client.Close()
}

func main() {
	switch {
	case len(os.Args) >= 3 && os.Args[1] == "serve":
		serve(os.Args[2], os.Args[3:])
	case len(os.Args) == 5 && os.Args[1] == "client":
		client(net.JoinHostPort(os.Args[2], os.Args[3]), os.Args[4])
	default:
		log.Fatal("usage: pion serve ADDRESS [CERTIFICATE KEY] | pion client HOST PORT LEG")
	}
}
