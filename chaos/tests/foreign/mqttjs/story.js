// Stories told by MQTT.js: a Client that nobody of this house wrote, and the one that runs in browsers.
//
//     NODE_PATH=MODULES node story.js --port PORT --version 31|311|5 --transport tcp|tls|mtls|ws|wss
//         [--ca FILE --cert FILE --key FILE] [STORY...]
//
// All stories are told at once, on topics of their own. Exits 0 if everything was as MQTT says it should be; else says
// what was not.
'use strict'

const assert = require('node:assert/strict')
const { parseArgs } = require('node:util')
const { Peer, sleep, within } = require('./peer.js')

const { values: options, positionals: chosen } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(
    ['port', 'version', 'transport', 'ca', 'cert', 'key'].map((name) => [name, { type: 'string' }])
  )
})
const version = options.version
const peer = (name, more = {}) => new Peer(options, `${name}-${version}`, more)
const connected = async (name, more) => peer(name, more).connect()

// Published and subscribed to in every combination: the lower QoS is delivered.
async function levels () {
  const publisher = await connected('levels-from')
  for (const granted of [0, 1, 2]) {
    const subscriber = await connected(`levels-to-${granted}`)
    await subscriber.subscribe('levels/#', granted)
    for (const qos of [0, 1, 2]) {
      await publisher.publish(`levels/${qos}`, `${qos}`, { qos })
      await subscriber.expect([[`levels/${qos}`, `${qos}`, Math.min(qos, granted), false]])
    }
    await subscriber.unsubscribe('levels/#')
    await publisher.publish('levels/0', 'gone', { qos: 1 })
    await subscriber.expect([])
    await subscriber.end()
  }
  await publisher.end()
}

async function retained () {
  const publisher = await connected('retained-from')
  await publisher.publish('door', 'open', { qos: 1, retain: true })
  await publisher.publish('door', 'shut', { qos: 2, retain: true })
  const late = await connected('retained-to')
  await late.subscribe('door', 2)
  await late.expect([['door', 'shut', 2, true]])
  await publisher.publish('door', '', { qos: 1, retain: true })
  await late.expect([['door', '', 1, false]])
  const later = await connected('retained-late')
  await later.subscribe('door', 2)
  await later.expect([])
  for (const one of [publisher, late, later]) await one.end()
}

async function will () {
  const watcher = await connected('will-to')
  await watcher.subscribe('will/van', 2)
  for (const qos of [0, 1, 2]) {
    const terms = { will: { topic: 'will/van', payload: 'lost', qos, retain: false } }
    await (await connected('will-from', terms)).end()
    await watcher.expect([])
    ;(await connected('will-from', terms)).vanish()
    await watcher.expect([['will/van', 'lost', qos, false]])
  }
  await watcher.end()
}

// A payload near the largest packet, at every QoS.
async function large () {
  const payload = Buffer.alloc(1000000, 'convoy').toString()
  const subscriber = await connected('large-to')
  await subscriber.subscribe('large', 2)
  const publisher = await connected('large-from')
  for (const qos of [0, 1, 2]) {
    await publisher.publish('large', payload, { qos })
    await subscriber.expect([['large', payload, qos, false]])
  }
  await subscriber.end()
  await publisher.end()
}

// A lasting Session gets what came while it was away: once, in order, and none of it twice.
async function resume () {
  const lasting = { clean: false }
  const van = await connected('resume-to', lasting)
  van.expectSession(false)
  await van.subscribe('resume/#', 2)
  await van.end()
  const publisher = await connected('resume-from')
  const expected = []
  for (const qos of [1, 2]) {
    const payloads = Array.from({ length: 100 }, (_, at) => `${at}`)
    await Promise.all(payloads.map((payload) => publisher.publish(`resume/${qos}`, payload, { qos })))
    expected.push(...payloads.map((payload) => [`resume/${qos}`, payload, qos, false]))
  }
  for (const owed of [expected, []]) {
    const back = await connected('resume-to', lasting)
    back.expectSession(true)
    await back.wait('the queue', () => back.messages.length >= owed.length)
    // Two topics: order holds in each.
    back.messages.sort((one, other) => (one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0))
    await back.expect(owed)
    await back.end()
  }
  const clean = await connected('resume-to')
  clean.expectSession(false)
  await publisher.publish('resume/1', 'late', { qos: 1 })
  await clean.expect([])
  await clean.end()
  await publisher.end()
}

// One member of a group gets a message; together they get all of them.
async function shared () {
  const members = await Promise.all([0, 1, 2].map((at) => connected(`shared-${at}`)))
  for (const member of members) await member.subscribe('$share/crew/job/#', 1)
  const publisher = await connected('shared-from')
  const payloads = Array.from({ length: 60 }, (_, at) => `${at}`)
  await Promise.all(payloads.map((payload) => publisher.publish('job/one', payload, { qos: 1 })))
  const taken = () => members.flatMap((member) => member.messages.map((message) => Number(message[1])))
  await within('all jobs', () => taken().length >= payloads.length)
  await sleep(150)
  assert.deepEqual(taken().sort((a, b) => a - b), payloads.map(Number))
  assert.ok(members.filter((member) => member.messages.length > 0).length > 1, 'one member did all the work')
  for (const one of [publisher, ...members]) await one.end()
}

// What a publisher says of its message arrives as it was, User Properties in their order.
async function properties () {
  const said = {
    payloadFormatIndicator: true,
    contentType: 'application/json',
    responseTopic: 'properties/answer',
    correlationData: Buffer.from('0123456789'),
    messageExpiryInterval: 60,
    userProperties: { zebra: ['1', '2'], apple: '3', '\u00e9': '\u4f60\u597d' }
  }
  const subscriber = await connected('properties-to')
  await subscriber.subscribe('properties', 2)
  const publisher = await connected('properties-from')
  for (const qos of [0, 1, 2]) {
    await publisher.publish('properties', '{}', { qos, properties: said })
    await subscriber.wait('the message', () => subscriber.messages.length > 0)
    const heard = subscriber.messages.pop()[4]
    const { messageExpiryInterval: remaining, userProperties, ...others } = heard
    const { messageExpiryInterval, userProperties: asked, ...expected } = said
    assert.ok(remaining >= 58 && remaining <= 60, `${remaining} s remain`)
    assert.deepEqual(others, expected)
    assert.deepEqual(Object.entries(userProperties), Object.entries(asked))
  }
  await subscriber.end()
  await publisher.end()
}

// A message says which of the Client's Subscriptions it came for.
async function identifiers () {
  const subscriber = await connected('identifiers-to')
  await subscriber.subscribe('identifiers/+/x', 1, { subscriptionIdentifier: 7 })
  await subscriber.subscribe('identifiers/a/#', 1, { subscriptionIdentifier: 268435455 })
  const publisher = await connected('identifiers-from')
  const heard = () => subscriber.messages.flatMap((message) => message[4].subscriptionIdentifier)
  await publisher.publish('identifiers/b/x', 'one', { qos: 1 })
  await subscriber.wait('the message', () => heard().length > 0)
  assert.deepEqual(heard(), [7])
  subscriber.messages.length = 0
  await publisher.publish('identifiers/a/x', 'both', { qos: 1 })
  // One copy with both or two with one each: the Server may choose.
  await subscriber.wait('the message for both', () => heard().length >= 2)
  assert.deepEqual(heard().sort((a, b) => a - b), [7, 268435455])
  await subscriber.end()
  await publisher.end()
}

// Topic Aliases in both directions; what the application sees are topics.
async function alias () {
  const subscriber = await connected('alias-to', { topicAliasMaximum: 8 })
  await subscriber.subscribe('alias/#', 1)
  const publisher = await connected('alias-from', { autoAssignTopicAlias: true })
  const expected = []
  for (let at = 0; at < 30; at++) {
    const topic = `alias/${at % 3}/a/long/topic/of/a/vehicle`
    await publisher.publish(topic, `${at}`, { qos: 1 })
    expected.push([topic, `${at}`, 1, false])
  }
  await subscriber.wait('all messages', () => subscriber.messages.length >= expected.length)
  subscriber.messages.sort((one, other) => Number(one[1]) - Number(other[1]))
  await subscriber.expect(expected)
  await subscriber.end()
  await publisher.end()
}

// A queued message loses the time that it waited, and is gone when there is none left; so is a Session.
async function expiry () {
  const van = await connected('expiry-to', { clean: false })
  await van.subscribe('expiry/#', 1)
  await van.end()
  await (await connected('expiry-brief', { clean: false, expiry: 1 })).end()
  const publisher = await connected('expiry-from')
  for (const seconds of [1, 60]) {
    await publisher.publish(`expiry/${seconds}`, '', { qos: 1, properties: { messageExpiryInterval: seconds } })
  }
  await sleep(2500)
  const back = await connected('expiry-to', { clean: false })
  back.expectSession(true)
  await back.wait('the message that lasts', () => back.messages.length > 0)
  const remaining = back.messages[0][4].messageExpiryInterval
  assert.ok(remaining >= 55 && remaining <= 58, `${remaining} s remain`)
  await back.expect([['expiry/60', '', 1, false]])
  const brief = await connected('expiry-brief', { clean: false })
  brief.expectSession(false)
  for (const one of [back, brief, publisher]) await one.end()
}

// Who one is, what one may do, and how a refusal is said in each version. For a node with the users and rules of it.
async function access () {
  const v5 = version === '5'
  const [ann, bob] = [['ann', 'secret of ann'], ['bob', 'secret of bob']]
  const refused = async (name, more, code) => {
    const error = await connected(name, more).then(() => assert.fail(`${name} was let in`), (error) => error)
    assert.equal(error.code, code, error.message)
  }
  await refused('access-stranger', { user: ['ann', 'wrong'] }, v5 ? 134 : 4)
  await refused('access-stranger', { user: ['nobody', 'secret of ann'] }, v5 ? 134 : 4)
  const mine = await connected('access-ann', { clean: false, user: ann })
  await mine.subscribe('own/ann/#', 1)
  const answer = await mine.client.subscribeAsync('own/#', { qos: 1 }).then((granted) => granted[0].qos, (error) => error)
  assert.ok(answer instanceof Error || answer >= 128, `own/# was granted: ${answer}`)
  const yours = await connected('access-bob', { user: bob })
  const denied = await yours.publish('own/ann/door', 'open', { qos: 1 }).then(() => 0, (error) => error.code)
  assert.equal(denied, v5 ? 135 : 0, 'own/ann/door')
  await mine.publish('own/ann/door', 'shut', { qos: 1 })
  // Of bob's nothing came, although 3.x was told that it was taken.
  await mine.expect([['own/ann/door', 'shut', 1, false]])
  await mine.end()
  await refused('access-ann', { clean: false, user: bob }, v5 ? 135 : 5)
  const will = { topic: 'own/ann/last', payload: '', qos: 1, retain: false }
  await refused('access-ghost', { user: bob, will }, v5 ? 135 : 5)
  const back = await connected('access-ann', { clean: false, user: ann })
  back.expectSession(true)
  await back.end()
  await yours.end()
}

const everywhere = { levels, retained, will, large, resume }
const only5 = { shared, properties, identifiers, alias, expiry }
const all5 = { ...everywhere, ...only5 }
// That of users is for a node that has them, and is asked for by name.
const all = { ...all5, access }

async function main () {
  const names = chosen.length > 0 ? chosen : Object.keys(version === '5' ? all5 : everywhere)
  const failures = []
  await Promise.all(names.map(async (name) => {
    try {
      await all[name]()
    } catch (error) {
      failures.push(`${name}: ${error.stack ?? error}`)
    }
  }))
  for (const failure of failures) console.error(failure)
  console.log(`${names.length - failures.length} passed, ${failures.length} failed`)
  // Connections of a story that failed do not keep the others from ending.
  process.exit(failures.length > 0 ? 1 : 0)
}

main()
