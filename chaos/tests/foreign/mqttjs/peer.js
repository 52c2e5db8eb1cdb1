// An MQTT.js Client that waits for events instead of sleeping, over any transport.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const mqtt = require('mqtt')

const LIMIT = 20000 // milliseconds that anything may take
const PROTOCOLS = { 31: ['MQIsdp', 3], 311: ['MQTT', 4], 5: ['MQTT', 5] }
const SCHEMES = { tcp: 'mqtt', tls: 'mqtts', mtls: 'mqtts', ws: 'ws', wss: 'wss' }

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time))

async function within (what, condition) {
  const until = Date.now() + LIMIT
  while (!condition()) {
    assert.ok(Date.now() < until, `${what} did not come in ${LIMIT} ms`)
    await sleep(5)
  }
}

// One Client Identifier, one connection.
class Peer {
  constructor (options, name, { clean = true, expiry = 3600, topicAliasMaximum, user, ...more } = {}) {
    const v5 = options.version === '5'
    const [protocolId, protocolVersion] = PROTOCOLS[options.version]
    this.options = options
    this.name = name
    // As [topic, payload, QoS, RETAIN, properties].
    this.messages = []
    const path = options.transport.startsWith('ws') ? '/mqtt' : ''
    const file = (at) => at && fs.readFileSync(at)
    const mutual = options.transport === 'mtls' ? { cert: file(options.cert), key: file(options.key) } : {}
    this.client = mqtt.connect(`${SCHEMES[options.transport]}://localhost:${options.port}${path}`, {
      clientId: name,
      protocolId,
      protocolVersion,
      clean,
      keepalive: 30,
      reconnectPeriod: 0,
      connectTimeout: LIMIT,
      resubscribe: false,
      manualConnect: true,
      ca: file(options.ca),
      username: user?.[0],
      password: user?.[1],
      ...mutual,
      ...(v5 ? { properties: { sessionExpiryInterval: clean ? 0 : expiry, topicAliasMaximum } } : {}),
      ...more
    })
    this.client.on('message', (topic, payload, packet) => {
      this.messages.push([topic, payload.toString(), packet.qos, packet.retain, packet.properties])
    })
  }

  // Resolves with the CONNACK that accepts; whatever else happens is thrown.
  async connect () {
    const answered = new Promise((resolve, reject) => {
      this.client.once('connect', resolve)
      this.client.once('error', (error) => {
        reject(Object.assign(new Error(`${this.name}: ${error.message}`), { code: error.code }))
      })
      this.client.once('close', () => reject(new Error(`${this.name}: closed before CONNACK`)))
    })
    this.client.connect()
    this.connack = await answered
    this.client.on('error', (error) => { this.error = error })
    return this
  }

  // The CONNACK of 3.1 has no place for it.
  expectSession (present) {
    if (this.options.version !== '31') assert.equal(this.connack.sessionPresent, present, `${this.name}: Session Present`)
  }

  async subscribe (filter, qos, properties) {
    const granted = await this.client.subscribeAsync(filter, properties ? { qos, properties } : { qos })
    assert.deepEqual(granted.map((one) => one.qos), [qos], `${filter}: granted`)
  }

  async unsubscribe (filter) {
    await this.client.unsubscribeAsync(filter)
  }

  // Resolves with the acknowledgement.
  async publish (topic, payload, terms) {
    return this.client.publishAsync(topic, payload, terms)
  }

  async wait (what, condition) {
    await within(`${this.name}: ${what}`, condition)
  }

  // Exactly these, in this order.
  async expect (expected) {
    await this.wait(`${expected.length} messages`, () => this.messages.length >= expected.length)
    await sleep(150) // One too many would follow at once.
    const seen = this.messages.splice(0).map((message) => message.slice(0, 4))
    const same = JSON.stringify(seen) === JSON.stringify(expected)
    const short = (all) => JSON.stringify(all.slice(0, 12).map((one) => [one[0], one[1].slice(0, 24), one[2], one[3]]))
    assert.ok(same, `${this.name} got ${short(seen)} instead of ${short(expected)}`)
  }

  async end () {
    await this.client.endAsync()
  }

  // Drops the connection without a DISCONNECT.
  vanish () {
    this.client.stream.destroy()
  }
}

module.exports = { Peer, sleep, within }
