// SPDX-License-Identifier: MIT
//
// usage: NODE_PATH=DIRECTORY node node_turn.js ADDRESS
//
// A TURN server of node-turn's, for tests: UDP on port 3478; user alice, password secret.
'use strict';
const Turn = require('node-turn');

const address = process.argv[2];
new Turn({
  authMech: 'long-term', credentials: {alice: 'secret'}, realm: 'node.test',
  listeningIps: [address], relayIps: [address], listeningPort: 3478,
  minPort: 50000, maxPort: 59999, debugLevel: 'WARN',
}).start();
process.stdout.write('ready\n');
