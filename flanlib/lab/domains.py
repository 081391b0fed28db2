"""The domains of the lab's world: one entry each, from which its table and tools are made."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A measured attribute: whole numbers from ``low`` to ``high`` in ``unit``, and its two superlatives."""

    key: str
    unit: str
    low: int
    high: int
    most: str
    least: str
    additive: bool = True


@dataclass(frozen=True)
class Domain:
    """One kind of entity and its attributes.

    ``names`` is a family of :mod:`flanlib.lab.names`. Every entity belongs to a group (``within`` is the preposition)
    and has a person, a link to another entity of the domain, a text from a few options, a yes-or-no property (key and
    phrases for yes and no) and three numbers. ``convert`` is (unit, other unit, factor, offset) for the first number.
    ``reserve`` is (verb, object, preposition, extra parameter, its phrase).
    """

    name: str
    noun: str
    plural: str
    names: str
    group: str
    within: str
    person: str
    link: str
    text: tuple[str, tuple[str, ...]]
    flag: tuple[str, str, str]
    numbers: tuple[Number, Number, Number]
    convert: tuple[str, str, float, float]
    reserve: tuple[str, str, str, str, str]

    @property
    def counts_extra(self) -> bool:
        """True if the extra parameter of ``reserve`` is a required count, False if it is an optional yes-or-no."""
        return "{" in self.reserve[4]


# Every entry starts at the margin and lists the fields of Domain in order. "no total": the sum has no meaning.
_TABLE = """\
weather, town, towns, place, region, in; forecaster, nearest_town; sky, clear, cloudy, foggy, stormy;
    frost, has frost, has no frost; temperature, degrees, 2, 38, warmest, coldest, no total;
    rainfall, millimetres, 3, 90, wettest, driest; wind_speed, knots, 4, 60, windiest, calmest, no total;
    celsius, fahrenheit, 1.8, 32; book, balloon_ride, over, riders, for {} riders
trains, station, stations, station, line, on; stationmaster, next_stop; service, express, local, night, regional;
    lift, has a lift, has no lift; distance, kilometres, 12, 640, farthest, closest;
    fare, crowns, 3, 95, dearest, cheapest; travel_time, minutes, 10, 400, slowest, fastest;
    kilometres, miles, 0.6214, 0; book, train_seat, to, passengers, for {} passengers
library, book, books, title, publisher, from; author, sequel; cover, paper, cloth, leather;
    pictures, has pictures, has no pictures; weight, grams, 90, 1400, heaviest, lightest;
    page_count, pages, 60, 900, longest, shortest; loan_fee, cents, 10, 240, priciest, cheapest;
    grams, ounces, 0.03527, 0; reserve, book_copy, of, large_print, in large print
cooking, dish, dishes, dish, cuisine, in; chef, side_dish; taste, sweet, sour, salty, bitter;
    nuts, contains nuts, contains no nuts; volume, litres, 2, 40, largest, smallest;
    calorie_count, calories, 80, 950, richest, leanest; cooking_time, minutes, 5, 240, slowest, quickest;
    litres, pints, 1.7598, 0; order, dish_delivery, of, portions, for {} portions
geography, mountain, mountains, mountain, country, in; guide, twin_summit; rock, granite, limestone, basalt, slate;
    glacier, has a glacier, has no glacier; height, metres, 400, 8200, highest, lowest, no total;
    trail_length, kilometres, 3, 75, longest, shortest; hut_count, huts, 2, 19, busiest, loneliest;
    metres, feet, 3.2808, 0; book, mountain_hut, on, climbers, for {} climbers
pharmacy, medicine, medicines, medicine, maker, from; pharmacist, substitute; shape, tablet, syrup, cream, drops;
    prescription, needs a prescription, needs no prescription; dose, milligrams, 5, 800, strongest, mildest;
    pack_price, crowns, 4, 120, dearest, cheapest; shelf_life, months, 6, 60, stablest, frailest, no total;
    milligrams, micrograms, 1000, 0; order, medicine_pack, of, cooled, kept cool
museum, museum, museums, museum, district, in; curator, partner_museum; collection, paintings, fossils, coins, masks;
    cafe, has a cafe, has no cafe; ticket_price, crowns, 3, 45, dearest, cheapest;
    exhibit_count, exhibits, 40, 900, fullest, emptiest; founding_year, , 1620, 1990, youngest, oldest, no total;
    crowns, marks, 2.5, 0; book, museum_tour, of, visitors, for {} visitors
football, team, teams, team, league, in; coach, rival; shirt, red, blue, green, white;
    stadium_roof, has a stadium roof, has no stadium roof; pitch_length, yards, 98, 130, roomiest, tightest, no total;
    goal_count, goals, 8, 96, sharpest, weakest; fan_count, fans, 200, 9000, loudest, quietest;
    yards, metres, 0.9144, 0; buy, match_ticket, for, away_end, in the away end
plants, plant, plants, plant, garden, in; gardener, companion; bloom, yellow, purple, pink, orange;
    poison, is poisonous, is not poisonous; stem_height, centimetres, 6, 240, tallest, shortest;
    bloom_time, days, 3, 80, slowest, quickest; water_need, cups, 2, 30, thirstiest, hardiest;
    centimetres, inches, 0.3937, 0; order, seed_bag, of, bags, with {} bags
astronomy, star, stars, star, constellation, in; discoverer, neighbour_star; colour, red, blue, white, yellow;
    dust_ring, has a dust ring, has no dust ring; light_path, light years, 5, 900, remotest, nearest;
    planet_count, planets, 2, 21, richest, poorest; burning_time, million years, 30, 9000, oldest, youngest, no total;
    light_years, parsecs, 0.3066, 0; book, telescope_hour, for, camera, with a camera
aquarium, fish, fishes, fish, hall, in; keeper, tank_mate; water, salt, fresh, cold, warm;
    sting, has a sting, has no sting; tank_size, gallons, 20, 900, largest, smallest;
    feed_amount, grams, 5, 300, hungriest, thriftiest; lifetime, months, 2, 90, oldest, youngest;
    gallons, litres, 3.7854, 0; book, fish_feeding, of, children, for {} children
music, song, songs, song, label, on; composer, flip_side; mood, happy, sad, dreamy, angry;
    choir, has a choir, has no choir; playing_time, minutes, 2, 48, longest, shortest;
    tempo, beats, 50, 210, fastest, slowest, no total; sale_count, copies, 100, 9500, biggest, smallest;
    minutes, seconds, 60, 0; request, song_performance, of, encore, with an encore
shipping, ship, ships, ship, harbour, in; captain, sister_ship; hull, steel, wood, iron, glass;
    radar, has radar, has no radar; top_speed, knots, 8, 42, fastest, slowest, no total;
    cargo, tons, 50, 8000, heaviest, lightest; crew_size, sailors, 4, 120, busiest, leanest;
    knots, kilometres_an_hour, 1.852, 0; book, ship_cabin, on, travellers, for {} travellers
hotels, hotel, hotels, hotel, city, in; manager, sister_hotel; breakfast, cold, buffet, simple, full;
    pool, has a pool, has no pool; room_size, square metres, 9, 80, roomiest, smallest, no total;
    room_price, crowns, 30, 480, dearest, cheapest; bed_count, beds, 6, 300, biggest, tiniest;
    square_metres, square_feet, 10.764, 0; book, hotel_room, at, guests, for {} guests
parcels, parcel, parcels, code, depot, in; sender, linked_parcel; status, packed, moving, delivered, returned;
    insurance, is insured, is not insured; mass, kilograms, 2, 70, heaviest, lightest;
    postage, cents, 90, 4200, priciest, cheapest; delay, hours, 2, 72, latest, promptest; kilograms, pounds, 2.2046, 0;
    arrange, parcel_pickup, of, signature, with a signature
farms, farm, farms, farm, valley, in; farmer, nearby_farm; crop, wheat, barley, beans, apples;
    shop, has a shop, has no shop; land, hectares, 3, 600, largest, smallest; cow_count, cows, 4, 300, busiest, calmest;
    harvest, sacks, 20, 900, richest, poorest; hectares, acres, 2.471, 0; book, farm_visit, to, pupils, for {} pupils
workshop, machine, machines, code, factory, in; mechanic, spare_machine; fuel, diesel, gas, battery, steam;
    alarm, has an alarm, has no alarm; power, kilowatts, 2, 220, strongest, weakest;
    noise, decibels, 30, 110, loudest, quietest, no total; repair_cost, crowns, 15, 2400, dearest, cheapest;
    kilowatts, horsepower, 1.341, 0; schedule, machine_service, of, inspection, with an inspection
cinema, film, films, title, studio, from; director, follow_up; genre, comedy, drama, horror, western;
    subtitles, has subtitles, has no subtitles; running_time, hours, 2, 14, longest, shortest;
    budget, thousand crowns, 20, 900, costliest, cheapest; award_count, awards, 2, 30, finest, humblest;
    hours, half_hours, 2, 0; book, film_seat, for, viewers, for {} viewers
lakes, lake, lakes, lake, county, in; ranger, feeder_lake; shore, sandy, rocky, marshy, wooded;
    ferry, has a ferry, has no ferry; depth, fathoms, 3, 140, deepest, shallowest, no total;
    shore_length, furlongs, 8, 420, vastest, narrowest; boat_count, boats, 2, 90, liveliest, stillest;
    fathoms, metres, 1.8288, 0; rent, rowing_boat, on, rowers, for {} rowers
jewels, gem, gems, gem, vault, in; jeweller, matching_gem; cut, round, oval, square, pear;
    flaw, has a flaw, has no flaw; carat_weight, carats, 2, 95, heaviest, lightest;
    asking_price, florins, 40, 9000, dearest, cheapest; facet_count, facets, 8, 90, brightest, dullest;
    carats, milligrams, 200, 0; order, gem_setting, for, engraving, with an engraving
apps, app, apps, app, store, in; developer, sister_app; platform, phone, desktop, browser, watch;
    dark_mode, has a dark mode, has no dark mode; download_size, megabytes, 3, 900, bulkiest, slimmest;
    monthly_fee, cents, 20, 1900, priciest, cheapest; update_count, updates, 2, 80, freshest, stalest;
    megabytes, kilobytes, 1000, 0; order, app_licence, for, users, for {} users
flights, flight, flights, code, airline, of; pilot, return_flight; meal, hot, vegetarian, snack, fruit;
    legroom, has extra legroom, has no extra legroom; air_distance, nautical miles, 60, 6400, longest, shortest;
    passenger_count, passengers, 12, 420, fullest, emptiest; boarding_time, minutes, 8, 75, slowest, quickest;
    nautical_miles, kilometres, 1.852, 0; reserve, window_seat, on, luggage, with luggage
beekeeping, hive, hives, hive, orchard, in; beekeeper, daughter_hive; blossom, clover, lavender, linden, heather;
    mites, has mites, has no mites; full_weight, stones, 2, 40, heaviest, lightest;
    honey_yield, jars, 4, 160, richest, scantiest; swarm_count, swarms, 2, 24, wildest, tamest;
    stones, kilograms, 6.35, 0; book, honey_tasting, at, tasters, for {} tasters
lighthouses, lighthouse, lighthouses, lighthouse, coast, on; lightkeeper, answering_light;
    lantern, electric, oil, gas, solar; foghorn, has a foghorn, has no foghorn;
    beam_range, leagues, 2, 28, brightest, dimmest, no total; stair_count, stairs, 30, 420, steepest, lowest;
    flash_gap, seconds, 3, 60, steadiest, busiest, no total; leagues, kilometres, 4.828, 0;
    book, tower_climb, at, lantern_room, with the lantern room
"""


def _domain(entry: str) -> Domain:
    fields = [field.split(", ") for field in " ".join(entry.split()).split("; ")]
    head, linked, (text, *options), flag, *measured, (unit, other, factor, offset), reserve = fields
    numbers = tuple(Number(key, unit, int(low), int(high), most, least, additive=not no_total)
                    for key, unit, low, high, most, least, *no_total in measured)
    return Domain(*head, *linked, (text, tuple(options)), tuple(flag), numbers,
                  (unit, other, float(factor), float(offset)), tuple(reserve))


DOMAINS: tuple[Domain, ...] = tuple(_domain(entry) for entry in re.split(r"\n(?! )", _TABLE.strip()))
